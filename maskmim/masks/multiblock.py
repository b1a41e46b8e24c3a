"""I-JEPA's masks: one context, several target blocks, each predicted from the same context."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import FractionRange, PositiveInt, PositiveRange
from maskmim.masks import rectangles
from maskmim.masks.core import MaskError, keep_strongest, positions
from maskmim.types import Array, Context, Mask, Randomness


def counts(
    grid: Sequence[int],
    *,
    targets: PositiveInt = 4,
    target_scale: FractionRange = (0.15, 0.2),
    context_scale: FractionRange = (0.85, 1.0),
    **others: object,
) -> tuple[int, int]:
    """Return the numbers of visible and predicted tokens of each mask of `context_and_targets`.

    Raises MaskError where no token would be left to see or to predict.
    """
    if targets < 1:
        raise MaskError(f"targets {targets}: at least one block must be predicted")
    target = _token_count(grid, target_scale, "target_scale")
    block = _token_count(grid, context_scale, "context_scale")
    if block <= targets * target:
        raise MaskError(
            f"{targets} targets of {target} tokens can cover the whole context of {block} on the "
            f"token grid {tuple(grid)}: use fewer targets, a smaller target_scale or more tokens"
        )
    return block - targets * target, target


@facts.sampler(counts=counts)
def context_and_targets(
    randomness: Randomness,
    context: Context,
    *,
    targets: PositiveInt = 4,
    target_scale: FractionRange = (0.15, 0.2),
    target_aspect: PositiveRange = (0.75, 1.5),
    context_scale: FractionRange = (0.85, 1.0),
) -> tuple[Mask, ...]:
    """Hide all but a context block, less several target blocks to predict.

    Returns one Mask for each target: `predict` holds the tokens of the target, `visible` those of
    the context block outside all targets, the same in each mask, and `hidden` marks all tokens
    that are not visible, predicted or not. `visible` and `hidden` are the same arrays in each, so
    that `methods.views` encodes the context once.

    targets: number of target blocks of an example; they may overlap. target_scale, context_scale:
    smallest and largest share of the tokens in a target and in the context block; the middle is
    taken. target_aspect: smallest and largest height over width of targets, drawn for each target
    of each example; the context block is as square as the grid allows.
    The scales give the numbers of visible and predicted tokens, see `counts`: 45 and 34 of 196 by
    default; there is no mask ratio.
    Works on a grid of one to three axes. Raises MaskError where the targets could cover the whole
    context, and for invalid arguments.

    Source: I-JEPA (arXiv 2301.08243, section 3); src/masks/multiblock.py, facebookresearch/ijepa.
    Differences:
    Sizes. The official collator draws one size and one aspect for the targets of a batch, by the
    same random number, and cuts every mask to the shortest of the batch. Numbers that change from
    batch to batch would compile a step for each, and would tie an example's mask to its batch. So
    targets have the middle size, an end row cut to be exact, and aspects are drawn for each.
    Context. It is cut to the number of tokens left when no targets overlap. Of 128 images, the
    official batch of a device, the shortest keeps 53 of 196 tokens on average. The official code
    drops the end in raster order, here random tokens are dropped.
    Places. The official code never places a block on the last row or column, so that its context is
    the same block in every image, and those tokens are neither seen nor predicted. Here every place
    in the grid is equally likely, and the context block can leave out any corner.
    """
    grid = context.grid
    visible, predicted = counts(
        grid, targets=targets, target_scale=target_scale, context_scale=context_scale
    )
    block = _token_count(grid, context_scale, "context_scale")
    keys = jax.vmap(lambda key: jax.random.split(key, targets + 2))(randomness.each("mask"))
    blocks = _blocks(keys[:, :targets], grid, count=predicted, aspect=target_aspect)
    square = _blocks(keys[:, targets : targets + 1], grid, count=block, aspect=(1.0, 1.0))
    left = square[:, 0] & ~blocks.any(1)
    shown = _random_subset(keys[:, -1], left, count=visible)
    places = positions(shown, visible)
    hidden, weight = ~shown, jnp.ones((len(shown), predicted), jnp.float32)
    return tuple(
        Mask(places, positions(blocks[:, target], predicted), hidden, weight)
        for target in range(targets)
    )


def _token_count(grid: Sequence[int], scale: tuple[float, float], name: str) -> int:
    """Return the tokens of a block of the middle scale; MaskError names the scale `name`."""
    low, high = scale
    tokens = round(math.prod(grid) * (low + high) / 2)
    if not (0 < low <= high <= 1 and tokens):
        raise MaskError(
            f"{name} {scale} of the token grid {tuple(grid)}: two shares above 0 and up to 1, the "
            "smaller first, that come to at least one token"
        )
    return tokens


def _blocks(keys: Array, grid: Sequence[int], *, count: int, aspect: tuple[float, float]) -> Array:
    """Return rectangles bool[B, n, N] for keys [B, n], flipped at random.

    Flips move the cut corner; without them no target would reach the last token.
    """
    split = jax.vmap(jax.random.split)(keys.reshape(-1))
    block = rectangles.inside(split[:, 0], grid, count=count, aspect=aspect)
    flips = jax.vmap(lambda key: jax.random.bernoulli(key, jnp.float32(0.5), (len(grid),)))(
        split[:, 1]
    )
    for axis in range(len(grid)):
        flip = flips[:, axis].reshape(-1, *[1] * len(grid))
        block = jnp.where(flip, jnp.flip(block, axis + 1), block)
    return block.reshape(*keys.shape, -1)


def _random_subset(keys: Array, tokens: Array, *, count: int) -> Array:
    """Keep a random `count` of the true tokens of each row, which has at least `count`."""
    noise = jax.vmap(lambda key: jax.random.uniform(key, tokens.shape[1:], jnp.float32))(keys)
    return keep_strongest(jnp.where(tokens, noise, -1.0), count)
