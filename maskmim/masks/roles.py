"""Samplers that change which tokens of another's masks enter the encoder or are predicted."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import Fraction, PositiveFraction
from maskmim.masks.core import MaskError, keep_strongest, nothing_hidden, positions
from maskmim.types import Array, Context, Mask, Randomness

Sampler = Callable[[Randomness, Context], Mask]


def _every_token(grid: tuple[int, ...]) -> tuple[int, int]:
    return math.prod(grid), math.prod(grid)


@facts.sampler(counts=_every_token)
def everything(randomness: Randomness, context: Context) -> Mask:
    """Hide nothing: every token is visible and predicted, with weight 1.

    For methods that learn from labels or reconstruct what they see, such as tokenizers.
    """
    return nothing_hidden(len(randomness.slots), context.length)


def in_place(randomness: Randomness, context: Context, *, sampler: Sampler) -> Mask:
    """Hide tokens in place: every token enters, hidden ones as mask embeddings.

    Source: BEiT, SimMIM, MaskFeat, iBOT.
    """
    mask = sampler(randomness, context)
    return mask._replace(visible=_all_tokens(mask))


def partly_predicted(
    randomness: Randomness, context: Context, *, sampler: Sampler, share: PositiveFraction
) -> Mask:
    """Hide as another sampler does, predict a random part of its predicted tokens.

    share: of the predicted tokens, rounded down as both sources do, at least one token.
    Raises MaskError unless 0 < share <= 1.
    Source: CrossMAE predicts 49 of 147 hidden tokens (share 1/3; its kept_mask_ratio 0.25 counts
    all tokens), CAPI 8 of 166 (share 0.05).
    """
    if not 0 < share <= 1:
        raise MaskError(f"share {share}: a part of the predicted tokens, above 0 and at most 1")
    mask = sampler(randomness, context)
    predicted = mask.predict.shape[-1]
    count = max(1, int(share * predicted + 1e-9))
    keys = randomness.inside("partly_predicted").each("mask")
    noise = jax.vmap(lambda key: jax.random.uniform(key, (predicted,), jnp.float32))(keys)
    places = positions(keep_strongest(noise, count), count)
    take = jnp.take_along_axis
    return mask._replace(
        predict=take(mask.predict, places, axis=1), weight=take(mask.weight, places, axis=1)
    )


def all_predicted(randomness: Randomness, context: Context, *, sampler: Sampler) -> Mask:
    """Hide as another sampler does, predict every token with weight 1.

    Source: deblurring MAE and UTA's whole-image losses.
    """
    mask = sampler(randomness, context)
    return mask._replace(predict=_all_tokens(mask), weight=jnp.ones(mask.hidden.shape, jnp.float32))


def hidden_weighted(randomness: Randomness, context: Context, *, sampler: Sampler) -> Mask:
    """Hide as another sampler does, predict every token, with weight 1 where hidden, else 0.

    For losses of whole pictures beside one of the hidden tokens.
    Source: A2MIM, whose head predicts whole pictures.
    """
    mask = sampler(randomness, context)
    return mask._replace(predict=_all_tokens(mask), weight=mask.hidden.astype(jnp.float32))


def spared(
    randomness: Randomness, context: Context, *, sampler: Sampler, chance: Fraction = 0.5
) -> Mask:
    """Hide as another sampler does, but spare each example with a probability.

    In a spared example nothing is hidden and all weights are 0.
    chance: probability that an example is spared.
    Raises MaskError where the sampler drops tokens from the encoder (see `in_place`), since dropped
    tokens cannot come back.
    Source: AttMask and iBOT mask a crop with probability 0.5.
    """
    mask = sampler(randomness, context)
    if mask.visible.shape[-1] != mask.hidden.shape[-1]:
        raise MaskError(
            f"spared: only {mask.visible.shape[-1]} of {mask.hidden.shape[-1]} tokens enter the "
            "encoder; wrap the sampler in maskmim.masks.roles.in_place"
        )
    keys = randomness.inside("spared").each("mask")
    masked = ~jax.vmap(lambda key: jax.random.bernoulli(key, jnp.float32(chance)))(keys)[:, None]
    return mask._replace(
        hidden=mask.hidden & masked, weight=mask.weight * masked.astype(jnp.float32)
    )


def _all_tokens(mask: Mask) -> Array:
    tokens = jnp.arange(mask.hidden.shape[-1], dtype=jnp.int32)
    return jnp.broadcast_to(tokens, mask.hidden.shape)
