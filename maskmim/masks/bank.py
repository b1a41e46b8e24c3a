"""ColorMAE's own procedure: masks cut out of a stored bank of noise patterns."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.masks.core import MaskError, from_scores
from maskmim.types import Array, Context, Mask, Randomness


def bank_windows(
    bank: Array, slices: Array, offsets: Array, flips: Array, *, grid: tuple[int, int]
) -> Array:
    """The patterns that are ranked: windows of the bank, flipped, each divided by its maximum.

    bank: f32[L, M, N]; slices: i32[B] which pattern; offsets: i32[B, 2] first row and column of the
    window; flips: bool[B, 2] whether left and right, top and bottom are exchanged; returns
    f32[B, *grid]. A window whose maximum is negative has its order turned over by the division, so
    that its weakest values become the strongest: the official code does the same. A maximum of
    exactly 0 gives infinities.
    Source: NormalizeBySliceMax and extract_windows of models/utils/masking_generator.py,
    carlosh93/ColorMAE.
    """

    def cut(place: Array, offset: Array, flip: Array) -> Array:
        start = (place, offset[0], offset[1])
        window = jax.lax.dynamic_slice(bank, start, (1, *grid))[0]
        window = jnp.where(flip[0], window[:, ::-1], window)
        return jnp.where(flip[1], window[::-1], window)

    windows = jax.vmap(cut)(slices, offsets, flips)
    most = jnp.broadcast_to(windows.max((1, 2), keepdims=True), windows.shape)
    # Else XLA multiplies by 1 / max, which rounds otherwise than the official division.
    return windows / jax.lax.optimization_barrier(most)


def bank_masks(
    bank: Array,
    slices: Array,
    offsets: Array,
    flips: Array,
    *,
    grid: tuple[int, int],
    ratio: float,
) -> Mask:
    """The masks of given windows of a bank: the strongest values stay visible; nothing is random.

    Arguments as `bank_windows`; ratio: share of hidden tokens.
    Source: color_noise_mask of the same file. Difference: `round(ratio * N)` tokens are hidden,
    where the official code keeps `int(N * (1 - ratio))`: the same number, 49, for 0.75 of 196, one
    fewer for some others.
    """
    windows = bank_windows(bank, slices, offsets, flips, grid=grid)
    return from_scores(windows.reshape(windows.shape[0], -1), ratio=ratio)


def cropped(randomness: Randomness, context: Context, *, ratio: float, chunk: int = 512) -> Mask:
    """Masks by the official procedure: a chunk of images shares one crop and two flips of the bank.

    Image i of a chunk takes pattern i; a chunk longer than the bank starts over with another crop
    and flips. So with the official 512 images a device only the first 512 of the 3,072 patterns are
    ever used; here chunks are cut from the global batch by slot, whatever the devices. Patterns
    come as the hint 'noise_bank' f32[L, M, N], see teachers/noise_bank.py.

    ratio: share of hidden tokens. chunk: images that share a draw, the official batch of a device.
    Raises MaskError unless the grid has two axes and fits into the patterns, and for a chunk
    below 1.
    Source: extract_windows of models/utils/masking_generator.py, carlosh93/ColorMAE; chunk: its
    configs (8xb512).
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
    room = jnp.array([whole - cells + 1 for whole, cells in zip(size, grid, strict=True)])

    def draw(key: Array) -> tuple[Array, Array]:
        for_offset, for_flips = jax.random.split(key)
        offset = jax.random.randint(for_offset, (2,), 0, room)
        return offset, jax.random.bernoulli(for_flips, 0.5, (2,))

    offsets, flips = jax.vmap(draw)(keys)
    return bank_masks(bank, slots % chunk % count, offsets, flips, grid=grid, ratio=ratio)


cropped.needs = ("noise_bank",)
cropped.axes = (2,)
