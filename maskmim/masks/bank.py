"""Masks of ColorMAE's own procedure: windows of a stored bank of noise patterns."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction, PositiveInt
from maskmim.masks.core import MaskError, from_scores
from maskmim.types import Array, Context, Mask, Randomness


def bank_windows(
    bank: Array, slices: Array, offsets: Array, flips: Array, *, grid: tuple[int, int]
) -> Array:
    """Cut windows out of the bank, flip them and divide each by its maximum: f32[B, *grid].

    bank: f32[L, M, N]; slices: i32[B] the pattern; offsets: i32[B, 2] first row and column of the
    window; flips: bool[B, 2] whether left and right, top and bottom are exchanged. As in the
    official code, the division reverses the order of a window whose maximum is negative, so that
    its weakest values become the strongest. A maximum of exactly 0 gives infinities.
    Source: NormalizeBySliceMax and extract_windows of models/utils/masking_generator.py,
    carlosh93/ColorMAE.
    """

    def cut(place: Array, offset: Array, flip: Array) -> Array:
        start = (place, offset[0], offset[1])
        window = jax.lax.dynamic_slice(bank, start, (1, *grid))[0]
        window = jnp.where(flip[0], window[:, ::-1], window)
        return jnp.where(flip[1], window[::-1], window)

    windows = jax.vmap(cut)(slices, offsets, flips)
    maxima = jnp.broadcast_to(windows.max((1, 2), keepdims=True), windows.shape)
    # Without the barrier XLA multiplies by 1 / max, which rounds differently.
    return windows / jax.lax.optimization_barrier(maxima)


def bank_masks(
    bank: Array,
    slices: Array,
    offsets: Array,
    flips: Array,
    *,
    grid: tuple[int, int],
    ratio: float,
) -> Mask:
    """Hide the weakest values of given windows of a bank; nothing is random.

    Arguments as `bank_windows`; ratio: share of hidden tokens.
    Source: color_noise_mask of the same file.
    Differences: `round(ratio * N)` tokens are hidden, where the official code keeps
    `int(N * (1 - ratio))`: the same number, 49, for 0.75 of 196, one fewer for some others.
    """
    windows = bank_windows(bank, slices, offsets, flips, grid=grid)
    return from_scores(windows.reshape(windows.shape[0], -1), ratio=ratio)


@facts.sampler(needs=("noise_bank",), axes=(2,))
def cropped(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, chunk: PositiveInt = 512
) -> Mask:
    """Hide where a noise pattern is weak, by ColorMAE's own crops of a stored bank.

    The images of a chunk share one crop and two flips of the bank. Image i of a chunk uses pattern
    i; a chunk longer than the bank starts over with another crop and flips. So with the official
    512 images per device only the first 512 of the 3,072 patterns are used.

    ratio: share of hidden tokens. chunk: images that share a draw, the official batch of a device.
    Reads the hint 'noise_bank' f32[L, M, N], see teachers/noise_bank.py.
    Raises MaskError unless the grid has two axes and fits into the patterns, and for a chunk
    below 1.
    Source: extract_windows of models/utils/masking_generator.py, carlosh93/ColorMAE; chunk: its
    configs (8xb512).
    Differences: chunks are cut from the global batch by slot, whatever the devices.
    """
    bank, grid = context.hints["noise_bank"], context.grid
    count, *size = bank.shape
    if len(grid) != 2 or any(cells > room for cells, room in zip(grid, size, strict=False)):
        raise MaskError(
            f"the token grid {grid} does not fit into bank patterns of {tuple(size)}: use a "
            "larger bank (teachers.<name>.size), or a sampler of maskmim.masks.colour"
        )
    if chunk < 1:
        raise MaskError(f"chunk {chunk}: at least one image must share a draw")
    slots = randomness.slots.astype(jnp.int32)
    turns = -(-chunk // count)
    groups = slots // chunk * turns + slots % chunk // count
    keys = jax.vmap(jax.random.fold_in, (None, 0))(randomness.shared("mask"), groups)
    room = jnp.array([side - cells + 1 for side, cells in zip(size, grid, strict=True)])

    def draw(key: Array) -> tuple[Array, Array]:
        for_offset, for_flips = jax.random.split(key)
        offset = jax.random.randint(for_offset, (2,), 0, room, jnp.int32)
        return offset, jax.random.bernoulli(for_flips, jnp.float32(0.5), (2,))

    offsets, flips = jax.vmap(draw)(keys)
    return bank_masks(bank, slots % chunk % count, offsets, flips, grid=grid, ratio=ratio)
