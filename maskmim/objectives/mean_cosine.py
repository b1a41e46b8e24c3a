"""How alike the tokens of an example may be: their mean pairwise cosine is held at a value."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.config.ranges import Fraction, NonNegative, PositiveInt
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import head_output
from maskmim.objectives.frequency import consecutive_means
from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array, Mean, Objective, View


def mean_cosine(
    *,
    source: Callable[[View], Array],
    start: Fraction = 0.75,
    end: Fraction = 0.25,
    examples: PositiveInt = 256,
    scale: NonNegative = 0.1,
) -> Objective:
    """Hold the mean cosine of the tokens of an example at a value that changes in training.

    source:   brick, view -> f32[B, n, D], `predicted` or `given_tokens`.
    start, end: of the value, along half a cosine over the training.
    examples: whose cosines are averaged before they are compared: the largest number up to this
              that divides the batch.
    scale:    factor in the sum of objectives.

    The loss is (mean - value)^2, the mean over all pairs of tokens, each with itself too, and over
    examples, as officially over those of a device, so that examples may differ. Means are taken
    over examples that follow each other in the batch, on any mesh; micro-batches have means of
    their own. Metric 'cosine': the mean.
    Source: Latent MIM (arXiv 2407.15837), avg_pairwise_sim of models_lmim.py and
    cosine_decay_schedule of main_lmim.py, yibingwei-1/LatentMIM.
    """

    def find(view: View):
        alike = pairwise_cosine(source(view).astype(jnp.float32))
        means = consecutive_means(alike, examples)
        loss = (means - wanted_cosine(view.context.progress, start, end)) ** 2
        metric = Mean(jnp.sum(alike), jnp.float32(len(alike)))
        return loss, jnp.ones_like(loss), {"cosine": metric}, ()

    says = f"mean cosine of {title(source)}, {start:g} to {end:g}"
    return Objective(needs=(), scale=scale, find=find, says=says)


def pairwise_cosine(tokens: Array) -> Array:
    """Return the mean cosine of all pairs of tokens f32[B, n, D], each with itself too: f32[B].

    It is the squared length of the mean of the tokens' unit vectors.
    """
    return jnp.sum(l2_normalise(tokens).mean(axis=1) ** 2, axis=-1)


def wanted_cosine(progress: Array | float, start: float, end: float) -> Array:
    """Return the value at a share of the training: from start to end along half a cosine."""
    falling = 0.5 * (1.0 + jnp.cos(math.pi * jnp.asarray(progress, jnp.float32)))
    return end + (start - end) * falling


def predicted(view: View, *, head: str) -> Array:
    """Return the predictions of a head, f32[B, P, V]; raise ModelError for one that lacks."""
    return head_output(view.outputs, head)


def given_tokens(view: View, *, name: str) -> Array:
    """Return an entry of `Encoded.given` without its prefix: f32[B, K, D].

    Raises ModelError for an encoder that gives no such entry.
    """
    given = view.encoded.given
    if name not in given:
        there = ", ".join(sorted(given)) or "nothing"
        raise ModelError(f"the encoder gives {there}, no {name!r}: change `name` of the source")
    return given[name][:, view.encoded.prefix.shape[1] :]
