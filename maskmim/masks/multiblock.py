"""I-JEPA's masks: one context, several target blocks, each predicted from the same context."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import FractionRange, OpenFraction, PositiveInt, PositiveRange
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


def tube_counts(
    grid: Sequence[int],
    *,
    seen: OpenFraction,
    predicted: OpenFraction,
    scale: OpenFraction = 0.15,
    **others: object,
) -> tuple[int, int]:
    """Return the visible and predicted tokens of `tubes`; raises as it does."""
    if len(grid) != 3:
        raise MaskError(f"tubes need a token grid of (time, rows, columns), got {tuple(grid)}")
    places = grid[1] * grid[2]
    shown, wanted = (max(1, round(share * places)) for share in (seen, predicted))
    if shown + wanted > places:
        raise MaskError(
            f"seen {seen} and predicted {predicted} of {places} places are {shown} and {wanted}, "
            "more than there are: lower one of them"
        )
    return grid[0] * shown, grid[0] * wanted


@facts.sampler(axes=(3,), counts=tube_counts)
def tubes(
    randomness: Randomness,
    context: Context,
    *,
    seen: OpenFraction,
    predicted: OpenFraction,
    blocks: PositiveInt = 8,
    scale: OpenFraction = 0.15,
    aspect: PositiveRange = (0.75, 1.5),
) -> Mask:
    """Hide blocks of places through all time steps of a clip, predict a part of what they cover.

    seen, predicted: shares of the places of a time step that enter the encoder, outside the blocks,
    and that are predicted, inside them. Where the blocks leave fewer outside, or have fewer inside,
    others stand in; places beyond both numbers neither enter nor are predicted.
    blocks: of an example; they may overlap. scale: share of the places in a block. aspect: smallest
    and largest height over width. All choices are random.
    Raises MaskError unless the grid is (time, rows, columns), and for shares above 1 together.
    Source: V-JEPA (arXiv 2404.08471), src/masks/multiblock3d.py of facebookresearch/jepa: 8 blocks
    of 0.15 and 2 of 0.7 of the places, of one size and aspect in a batch.
    Differences: the official code cuts every mask to the shortest of a device's batch, at the end
    in raster order, the last time steps of what is predicted; here numbers are given and places are
    dropped at random, the same at all times. Of 24 clips of 14 x 14 places the shortest have on
    average 0.22 seen and 0.48 predicted for 8 blocks, 0.06 and 0.70 for 2. Aspects are drawn for
    each block.
    """
    grid = context.grid
    steps = grid[0]
    visible, wanted = (
        count // steps for count in tube_counts(grid, seen=seen, predicted=predicted, scale=scale)
    )
    frame = grid[1:]
    count = max(1, round(math.prod(frame) * scale))
    keys = jax.vmap(lambda key: jax.random.split(key, blocks + 1))(randomness.each("mask"))
    inside = _blocks(keys[:, :blocks], frame, count=count, aspect=aspect).any(1)
    draw = jax.vmap(lambda key: jax.random.uniform(key, (2, math.prod(frame)), jnp.float32))
    first, second = jnp.moveaxis(draw(keys[:, -1]), 1, 0)
    inside = inside.astype(jnp.float32)
    shown = keep_strongest(first - inside, visible)
    asked = keep_strongest(second + inside - 2.0 * shown.astype(jnp.float32), wanted)
    through = [jnp.tile(each, (1, steps)) for each in (shown, asked)]
    weight = jnp.ones((len(shown), steps * wanted), jnp.float32)
    visible, wanted = steps * visible, steps * wanted
    return Mask(positions(through[0], visible), positions(through[1], wanted), ~through[0], weight)


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
