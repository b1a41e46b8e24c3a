"""What an encoder returns as maps of features on grids, for heads that answer at every place."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from typing import Any

import jax

from maskmim.config.ranges import PositiveFraction
from maskmim.models.dense_heads import Maps, Shapes
from maskmim.models.layers.errors import ModelError
from maskmim.types import Array, Encoded

# Blocks whose output is read, as shares of the depth; () for the encoder's output.
Layers = tuple[PositiveFraction, ...]
# Added to the variance of stages, as in the norms of Swin.
EPSILON = 1e-5


def block_numbers(layers: tuple[float, ...], depth: int) -> tuple[int, ...]:
    """Return the blocks that shares of the depth end in: (0.25, 0.5, 1.0) of 12 are 2, 5, 11."""
    return tuple(max(0, math.ceil(share * depth - 1e-9) - 1) for share in layers)


def captured_by(
    encode: Callable[..., Encoded], *shapes: Any, layers: tuple[float, ...]
) -> tuple[str, ...]:
    """Return what an encoder should capture for `maps_of`: ('layers',), ('stages',) or ().

    encode: takes `capture`; it is traced with arguments of these shapes, nothing is computed.
    An encoder that can return neither its blocks nor its stages captures nothing.
    """
    if not layers:
        return ()
    for name in ("layers", "stages"):
        with contextlib.suppress(ModelError):
            jax.eval_shape(functools.partial(encode, capture=(name,)), *shapes)
            return (name,)
    return ()


def maps_of(encoded: Encoded, grid: tuple[int, int], *, layers: tuple[float, ...]) -> Maps:
    """Return maps of features f32[B, h, w, D], one for each of `layers`, or the output alone.

    encoded: of every token of the grid. Prefix tokens are left out.
    layers:  shares of the depth, see `block_numbers`; () for the output behind the last norm. Of an
             encoder with stages they are shares of the number of stages, and each map has the grid
             of its stage; of one that captured neither, its output stands for each of them.
    Raises ModelError where the tokens are not those of the grid.
    Source: mmsegmentation puts a LayerNorm on the output of every stage of Swin and of ConvNeXt
    before a head sees it. Difference: without scale and shift, which the head that follows can
    learn.
    """
    if layers and encoded.stages is not None:
        numbers = block_numbers(layers, len(encoded.stages))
        return tuple(_normalised(encoded.stages[number]) for number in numbers)
    if not layers or encoded.layers is None:
        return (_on_grid(encoded.tokens, grid),) * max(len(layers), 1)
    prefix = encoded.prefix.shape[1]
    numbers = block_numbers(layers, len(encoded.layers))
    return tuple(_on_grid(encoded.layers[number][:, prefix:], grid) for number in numbers)


def shapes_of(maps: Maps) -> Shapes:
    """Return (rows, columns, D) of each map, or of what `jax.eval_shape` says of it."""
    return tuple(tuple(each.shape[1:]) for each in maps)


def _normalised(x: Array) -> Array:
    """Return f32[B, h, w, D] with mean 0 and variance 1 over the channels of each place."""
    return jax.nn.standardize(x.astype("float32"), axis=-1, epsilon=EPSILON)


def _on_grid(tokens: Array, grid: tuple[int, int]) -> Array:
    """Return tokens [B, N, D] as f32[B, *grid, D]."""
    if tokens.shape[1] != math.prod(grid):
        raise ModelError(
            f"the encoder returns {tokens.shape[1]} tokens for a grid of "
            f"{'x'.join(map(str, grid))}: its output is no map of the picture"
        )
    return tokens.reshape(len(tokens), *grid, -1).astype("float32")
