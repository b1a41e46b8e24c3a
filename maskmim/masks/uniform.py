"""Uniformly random masks."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction
from maskmim.masks.core import MaskError, from_hidden, from_scores, keep_strongest
from maskmim.types import Array, Context, Mask, Randomness


def random(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide a uniformly random subset of the tokens of each example.

    ratio: share of hidden tokens, exact after rounding, see `split_counts`.
    With several streams the subset is drawn from all their tokens together, as SatMAE does.
    Source: MAE (arXiv 2111.06377), section 3 and random_masking of models_mae.py.
    """
    return from_scores(random_scores(randomness, context), ratio=ratio)


def random_scores(randomness: Randomness, context: Context) -> Array:
    """Draw uniform noise in [0, 1): f32[B, N]; the largest stay visible."""
    shape = (context.length,)
    return jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float32))(
        randomness.each("mask")
    )


def shared_counts(grid: tuple[int, ...], *, ratio: OpenFraction) -> tuple[int, int]:
    """Return the visible and hidden tokens of `shared`; raises as it does."""
    length = math.prod(grid)
    visible = math.floor((1 - ratio) * length + 1e-9)
    if not 0 < visible < length:
        raise MaskError(
            f"mask ratio {ratio} of {length} tokens leaves {visible} visible: at least one must be "
            "hidden and one visible; change the ratio, the patch size or the image size"
        )
    return visible, length - visible


@facts.sampler(counts=shared_counts)
def shared(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide one uniformly random subset of the tokens, the same in every example of the batch.

    ratio: share of hidden tokens, rounded up, so that `int((1 - ratio) * N)` are visible.
    The batch is the global one, on any mesh and for any number of micro-batches.
    Raises MaskError for a ratio that leaves nothing visible or nothing hidden.
    Source: patch_drop of forward_features in src/deit.py, facebookresearch/msn: one permutation for
    each batch on each device. Difference: the same on all devices.
    """
    visible, hidden = shared_counts(context.grid, ratio=ratio)
    noise = jax.random.uniform(randomness.shared("mask"), (1, context.length), jnp.float32)
    places = ~keep_strongest(noise, visible)
    places = jnp.broadcast_to(places, (len(randomness.slots), context.length))
    return from_hidden(places, count=hidden)
