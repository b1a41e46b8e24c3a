"""The contrast of pictures and texts: each finds its own among those of the batch."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from maskmim.config.ranges import NonNegative
from maskmim.models.calls import call_of
from maskmim.objectives.classification import ObjectiveError
from maskmim.objectives.labels import pooled
from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array, Mean, Objective, View


def match_texts(
    *,
    texts: str = "caption",
    picture: str = "picture",
    text: str = "text",
    temperature: str = "temperature",
    pooling: Literal["mean", "class"] = "class",
    scale: NonNegative = 1.0,
) -> Objective:
    """Find the text of each picture among all texts of the batch, and the picture of each text.

    texts:       the field of the batch with texts i32[B, L].
    picture, text, temperature: names of functions under `config.calls`: the projection of pooled
                 pictures f32[B, D] -> f32[B, V], the encoder of texts i32[B, L] -> f32[B, V], and
                 the factor of cosines () -> f32[], such as `models.clip_text.inverse_temperature`.
    pooling:     of the encoder's output, as of `objectives.label`.
    scale:       factor in the sum of objectives.

    The loss of an example is the mean of two cross-entropies over the cosines, times the factor, of
    its picture with all texts and of its text with all pictures of the global batch, equal on any
    mesh. With micro-batches the others are those of the micro-batch: the loss depends on their
    number. Equal texts of a batch are each other's negatives, as in CLIP.
    Metrics: 'picture_accuracy' and 'text_accuracy', the shares of pictures and of texts that are
    nearest to their own (the first of equal ones), and 'factor'.
    `find` raises ObjectiveError where the batch lacks the texts and where both do not have equally
    many values, ModelError for a function that the network lacks.
    Source: CLIP (arXiv 2103.00020), figure 3.
    """

    def find(view: View):
        if texts not in view.context.batch:
            raise ObjectiveError(
                f"the batch lacks the texts {texts!r}: declare input.fields.{texts} with the shape "
                "and dtype of the source's, and keep it in data.augment"
            )
        features = pooled(view.encoded, pooling)
        pictures = call_of(view.net, picture)(view.params, features)
        words = call_of(view.net, text)(view.params, view.context.batch[texts])
        if pictures.shape != words.shape:
            raise ObjectiveError(
                f"calls.{picture} gives {pictures.shape[-1]} values, calls.{text} "
                f"{words.shape[-1]}: set their `values` to the same number"
            )
        factor = call_of(view.net, temperature)(view.params)
        loss, found = contrast_texts(pictures, words, factor)
        count = jnp.float32(len(pictures))
        shares = {name: Mean(jnp.sum(hits), count) for name, hits in found.items()}
        metrics = {**shares, "factor": Mean(factor * count, count)}
        return loss[:, None], jnp.ones((len(pictures), 1), jnp.float32), metrics, ()

    says = f"pictures by {picture} and {texts} by {text} find each other"
    return Objective((), scale, find, says, calls=(picture, text, temperature))


def contrast_texts(pictures: Array, texts: Array, factor: Array) -> tuple[Array, dict[str, Array]]:
    """Return the losses f32[B] of pictures f32[B, V] and their texts, and which are nearest f32[B].

    The second by name: 'picture_accuracy', 'text_accuracy'.
    """
    pictures, texts = l2_normalise(pictures), l2_normalise(texts)
    cosines = jnp.matmul(pictures, texts.T, precision=jax.lax.Precision.HIGHEST)
    logits = factor * cosines
    own, places = jnp.diagonal(logits), jnp.arange(len(logits))
    losses = [jax.nn.logsumexp(logits, axis=axis) - own for axis in (1, 0)]
    found = {
        name: (jnp.argmax(logits, axis=axis) == places).astype(jnp.float32)
        for name, axis in (("picture_accuracy", 1), ("text_accuracy", 0))
    }
    return (losses[0] + losses[1]) / 2, found
