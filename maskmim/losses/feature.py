"""Losses between features as bricks: (prediction, target) f32[B, P, V] -> f32[B, P], in float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import NonNegative, Positive
from maskmim.errors import UserError
from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array


class FeatureError(UserError, ValueError):
    """Features of different widths."""


def cosine(prediction: Array, target: Array) -> Array:
    """Return 1 minus the cosine of the angle between prediction and target, from 0 to 2.

    Raises FeatureError where the head's width differs from the target's.
    Source: BEiT v2 (arXiv 2208.06366), calculate_rec_loss of modeling_vqkd.py.
    `optax.losses.cosine_distance` bounds squared lengths, not lengths, and by default not at all.
    """
    prediction, target = _checked(prediction, target)
    return 1.0 - jnp.sum(l2_normalise(prediction) * l2_normalise(target), axis=-1)


def unit_absolute_error(prediction: Array, target: Array) -> Array:
    """Return the mean absolute difference of prediction and target after each has the length 1.

    As values of unit vectors shrink with their number V, so does the loss: like 1 / sqrt(V).
    Raises FeatureError as `cosine`.
    Source: DMAE (arXiv 2208.12256), forward_distillation_loss_embedding of models_mae_distill.py,
    UCSC-VLAA/DMAE, with its option L1.
    """
    prediction, target = _checked(prediction, target)
    return jnp.mean(jnp.abs(l2_normalise(prediction) - l2_normalise(target)), axis=-1)


def patch_discrimination(
    prediction: Array, target: Array, *, temperature: Positive = 0.2, epsilon: NonNegative = 1e-4
) -> Array:
    """Find the target of each prediction among those of its own example, by cross-entropy.

    Returns 2 * temperature * the cross-entropy of the cosines / temperature; the negatives are the
    targets of all other predicted tokens of the example. Before that each value of the predictions,
    not of the targets, gets mean 0 and deviation 1 over the example's predicted tokens:
    (x - mean) / (deviation + epsilon), the deviation of the unbiased variance. Hence the loss
    depends on how many tokens are predicted; of one alone it is 0.
    Raises FeatureError where the head's width differs from the target's.
    Source: Latent MIM (arXiv 2407.15837), forward_loss of models_lmim.py, loss infonce_patches,
    yibingwei-1/LatentMIM.
    """
    prediction, target = _checked(prediction, target)
    centred = prediction - prediction.mean(axis=1, keepdims=True)
    count = max(prediction.shape[1] - 1, 1)
    variance = jnp.sum(centred**2, axis=1, keepdims=True) / count
    # The gradient of the root is infinite where all predictions are equal, and unused there.
    deviation = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
    queries, keys = l2_normalise(centred / (deviation + epsilon)), l2_normalise(target)
    exact = jax.lax.Precision.HIGHEST
    logits = jnp.einsum("bpv,bqv->bpq", queries, keys, precision=exact) / temperature
    own = jnp.diagonal(logits, axis1=1, axis2=2)
    return 2.0 * temperature * (jax.nn.logsumexp(logits, axis=-1) - own)


def _checked(prediction: Array, target: Array) -> tuple[Array, Array]:
    """Return both in float32; raise FeatureError where their shapes differ."""
    if prediction.shape != target.shape:
        raise FeatureError(
            f"the head has {prediction.shape[-1]} values, the features have {target.shape[-1]}: "
            "change the head's width in config.model"
        )
    return prediction.astype(jnp.float32), target.astype(jnp.float32)
