"""Homologous recognition: tokens of a mixture find those of the same example (MixedAE)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import NonNegative, Positive
from maskmim.objectives.classification import ObjectiveError
from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array, Mean, Objective, View


def same_source(*, temperature: Positive = 0.25, scale: NonNegative = 0.1) -> Objective:
    """Find the tokens of the same example among all tokens of a mixture, by cross-entropy.

    temperature: divides the cosines. scale: factor in the sum of objectives.
    A mixture is as many consecutive examples as it takes to show every place once, see
    `masks.mixtures.partition`. The loss of a visible token is the mean over the other tokens of its
    example of -log softmax of the cosines to all tokens but itself. The metric 'nearest' is the
    share of tokens whose nearest other token is of their example.
    Raises ObjectiveError for examples that show fewer than two tokens or do not form mixtures.
    Source: MixedAE (arXiv 2303.17152), the homologous contrastive loss; as in supervised
    contrastive learning (arXiv 2004.11362). The defaults are from memory, no source at hand gives
    them (ours).
    """

    def find(view: View):
        examples, count, width = view.encoded.tokens.shape
        sources = view.context.length // count
        _check(examples, count, view.context.length)
        mixed = view.encoded.tokens.reshape(examples // sources, sources * count, width)
        loss, nearest = recognise(mixed, sources, temperature)
        loss, nearest = (each.reshape(examples, count) for each in (loss, nearest))
        share = Mean(jnp.sum(nearest), jnp.float32(nearest.size))
        return loss, jnp.ones_like(loss), {"nearest": share}, ()

    return Objective((), scale, find, f"tokens of one source, at temperature {temperature:g}")


def recognise(tokens: Array, sources: int, temperature: float) -> tuple[Array, Array]:
    """Compare all tokens of mixtures f32[G, n, D], n / sources of each source one after another.

    Returns the loss f32[G, n] and whether the nearest other token is of the same source f32[G, n].
    """
    length = tokens.shape[1]
    units = l2_normalise(tokens.astype(jnp.float32))
    exact = jax.lax.Precision.HIGHEST
    cosines = jnp.einsum("gid,gjd->gij", units, units, precision=exact)
    source = jnp.arange(length) // (length // sources)
    itself = jnp.eye(length, dtype=bool)
    logits = jnp.where(itself[None], -jnp.inf, cosines / jnp.float32(temperature))
    same = (source[:, None] == source[None]) & ~itself
    log_shares = jnp.where(same[None], jax.nn.log_softmax(logits, axis=-1), 0.0)
    loss = -jnp.sum(log_shares, axis=-1) / jnp.float32(length // sources - 1)
    nearest = source[jnp.argmax(logits, axis=-1)] == source[None]
    return loss, nearest.astype(jnp.float32)


def _check(examples: int, count: int, length: int) -> None:
    """Raise ObjectiveError unless examples with `count` visible tokens form mixtures."""
    if count < 2 or length % count or examples % (length // count):
        raise ObjectiveError(
            f"{examples} examples that show {count} of {length} tokens do not form mixtures: use "
            "the sampler maskmim.masks.mixtures.partition, with at least two tokens of each source"
        )
