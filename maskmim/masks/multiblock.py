"""I-JEPA's masks: one context, several target blocks, each predicted from the same context."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from maskmim.masks import rectangles
from maskmim.masks.core import MaskError, keep_strongest, positions
from maskmim.types import Array, Context, Mask, Randomness


def context_and_targets(
    randomness: Randomness,
    context: Context,
    *,
    targets: int = 4,
    target_scale: tuple[float, float] = (0.15, 0.2),
    target_aspect: tuple[float, float] = (0.75, 1.5),
    context_scale: tuple[float, float] = (0.85, 1.0),
) -> tuple[Mask, ...]:
    """One mask for each target block; all show the same context block less all the targets.

    In each mask `predict` are the tokens of its target, `visible` those of the context and
    `hidden` all that are not visible, predicted or not.

    targets: number of target blocks of an example; they may overlap. target_scale, context_scale:
    smallest and largest share of the tokens in a target and in the context block; the middle is
    taken. target_aspect: smallest and largest height over width of targets, drawn for each target
    of each example; the context block is as square as the grid allows.
    How many tokens are visible and predicted follows from the scales, see `counts`: 45 and 34 of
    196 by default; there is no mask ratio.
    Works on a grid of one to three axes. Raises MaskError where the targets could cover the whole
    context, and for arguments that cannot be.

    Source: I-JEPA (arXiv 2301.08243, section 3); src/masks/multiblock.py, facebookresearch/ijepa.
    Differences:
    Sizes. The official collator draws one size and one aspect for the targets of a batch, by the
    same random number, and cuts every mask to the shortest of the batch. Numbers that change from
    batch to batch would compile a step for each, and would tie an example's mask to its batch. So
    targets have the middle size, an end row cut to be exact, and aspects are drawn for each.
    Context. What is left of it is cut to the number that is left when no targets overlap. Of 128
    images, as the official batch of a device, the shortest keeps 53 of 196 tokens on average. The
    official code drops the end in raster order, here the tokens dropped are random.
    Places. The official code never places a block on the last row or column, so that its context is
    the same block in every image, and those tokens are neither seen nor predicted. Here every place
    in the grid is equally likely, and what the context block leaves out can be at any corner.
    """
    grid = context.grid
    visible, predicted = counts(
        grid, targets=targets, target_scale=target_scale, context_scale=context_scale
    )
    whole = _tokens(grid, context_scale, "context_scale")
    keys = jax.vmap(lambda key: jax.random.split(key, targets + 2))(randomness.each("mask"))
    blocks = _blocks(keys[:, :targets], grid, count=predicted, aspect=target_aspect)
    square = _blocks(keys[:, targets : targets + 1], grid, count=whole, aspect=(1.0, 1.0))
    left = square[:, 0] & ~blocks.any(1)
    shown = _some(keys[:, -1], left, count=visible)
    places = positions(shown, visible)
    weight = jnp.ones((len(shown), predicted), jnp.float32)
    return tuple(
        Mask(places, positions(blocks[:, target], predicted), ~shown, weight)
        for target in range(targets)
    )


def counts(
    grid: Sequence[int],
    *,
    targets: int = 4,
    target_scale: tuple[float, float] = (0.15, 0.2),
    context_scale: tuple[float, float] = (0.85, 1.0),
) -> tuple[int, int]:
    """Visible and predicted tokens of each mask on a grid; arguments as `context_and_targets`.

    Raises MaskError where no token would be left to see or to predict.
    """
    if targets < 1:
        raise MaskError(f"targets {targets}: at least one block must be predicted")
    target = _tokens(grid, target_scale, "target_scale")
    whole = _tokens(grid, context_scale, "context_scale")
    if whole <= targets * target:
        raise MaskError(
            f"{targets} targets of {target} tokens can cover the whole context of {whole} on the "
            f"token grid {tuple(grid)}: use fewer targets, a smaller target_scale or more tokens"
        )
    return whole - targets * target, target


context_and_targets.counts = counts


def _tokens(grid: Sequence[int], scale: tuple[float, float], name: str) -> int:
    low, high = scale
    tokens = round(math.prod(grid) * (low + high) / 2)
    if not (0 < low <= high <= 1 and tokens):
        raise MaskError(
            f"{name} {scale} of the token grid {tuple(grid)}: two shares above 0 and up to 1, the "
            "smaller first, that come to at least one token"
        )
    return tokens


def _blocks(keys: Array, grid: Sequence[int], *, count: int, aspect: tuple[float, float]) -> Array:
    """Rectangles bool[B, n, N] for keys [B, n], turned over at random.

    Their cut corner is thus at any of theirs; else no target would reach the last token.
    """
    split = jax.vmap(jax.random.split)(keys.reshape(-1))
    block = rectangles.inside(split[:, 0], grid, count=count, aspect=aspect)
    turned = jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (len(grid),)))(split[:, 1])
    for axis in range(len(grid)):
        turn = turned[:, axis].reshape(-1, *[1] * len(grid))
        block = jnp.where(turn, jnp.flip(block, axis + 1), block)
    return block.reshape(*keys.shape, -1)


def _some(keys: Array, tokens: Array, *, count: int) -> Array:
    """A random `count` of the true tokens of each row, which has at least so many: bool[B, N]."""
    noise = jax.vmap(lambda key: jax.random.uniform(key, tokens.shape[1:]))(keys)
    return keep_strongest(jnp.where(tokens, noise, -1.0), count)
