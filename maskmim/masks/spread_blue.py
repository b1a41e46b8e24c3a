"""Spread blue-noise masks: high-pass noise whose visible tokens are moved apart.

The noise W - G_s * W is ranked, and the strongest tokens are visible: blue noise, in which some
visible tokens still touch. Then single tokens move, a fixed number of times: the visible token of
largest crowding less noise becomes hidden, and the hidden token of smallest crowding less noise
becomes visible. Crowding sums over visible tokens within a window: a closeness that falls with
distance, and a penalty for those on one line, with a weight for each direction; on two axes along
rows, columns and both diagonals. No move raises

    sum over pairs of visible tokens of (closeness + penalty)  -  sum of visible tokens' noise,

so tokens spread evenly, and masks stay as random as their noise.

Beyond a border nothing is visible, so that tokens would gather there: on 14 x 14 at 80 % almost
half of the corners were visible. So the moves are made on a torus that is longer than the grid by
twice the window along every axis, and no token crowds both of two opposite borders. The grid is a
window of it. Since tokens are spread evenly, it holds the right number or a few more or fewer; then
the most crowded are hidden, or the least crowded shown.

Source: 'Optim Blue', also 'regularised blue noise', of arXiv 2503.16311 (Bhowmik et al.), for
spectrograms; no official code was found.
Known of the paper: the filter, and that an optimisation spreads visible patches evenly and
penalises clusters inside a window along four directions, with weights. Not known: the objective,
the window, the weights and the sigma. The objective above, its constants and its minimisation are
ours; the moves are the first phase of void-and-cluster (Ulichney 1993) with noise added.
Differences: the authors store masks and crop and flip them; here every example draws its own.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config.ranges import NonNegative, OpenFraction, Positive, PositiveInt
from maskmim.masks.colour import NARROW
from maskmim.masks.core import MaskError, from_scores, keep_strongest, split_counts
from maskmim.masks.gaussian import kernel
from maskmim.types import Array, Context, Mask, Randomness

CLOSENESS_SIGMA = 1.5  # Tokens; the usual value of void-and-cluster.
# Closeness and penalties are multiples of this: float32 sums of them are exact in any order, so
# that subtracting a token's pressure undoes adding it.
QUANTUM = 1 / 256

Weights = NonNegative | tuple[NonNegative, ...]


class Torus(NamedTuple):
    """The torus on which tokens move: the grid and a strip between its opposite borders.

    sizes:    lengths of the torus. grid: place of the grid on it, one slice for each axis.
    pressure: f32[*(2 * sizes - 1)] closeness plus penalty of two tokens by their offset, which goes
              from -(size - 1) to size - 1 along each axis.
    """

    sizes: tuple[int, ...]
    grid: tuple[slice, ...]
    pressure: np.ndarray


def directions(axes: int) -> tuple[tuple[int, ...], ...]:
    """Return the directions of lines through a token, one of each opposite pair: 1, 4 or 13.

    On two axes: (0, 1) along a row, (1, -1) and (1, 1) along diagonals, (1, 0) along a column.
    """
    steps = itertools.product((-1, 0, 1), repeat=axes)
    return tuple(step for step in steps if step > (0,) * axes)


def pressure(offsets: np.ndarray, *, window: int, spread: float, weights: Weights) -> np.ndarray:
    """Return closeness plus penalty f64[...] of two tokens at offsets i64[..., axes].

    Arguments and errors as `spread_blue`.
    """
    lines = directions(offsets.shape[-1])
    line_weights = weights if isinstance(weights, tuple) else (weights,) * len(lines)
    if len(line_weights) != len(lines):
        raise MaskError(f"weights {weights}: give one number, or one for each of {lines}")
    if window < 1 or not all(0 <= strength < math.inf for strength in (spread, *line_weights)):
        raise MaskError(
            f"window {window}, spread {spread}, weights {weights}: the window must reach at least "
            "one token, the others must be 0 or more"
        )
    distance = abs(offsets).max(-1)
    total = spread * np.exp(-(offsets**2).sum(-1) / (2 * CLOSENESS_SIGMA**2))
    for weight, line in zip(line_weights, lines, strict=True):
        ahead = distance[..., None] * np.array(line)
        on_line = (offsets == ahead).all(-1) | (offsets == -ahead).all(-1)
        total += weight * on_line / np.maximum(distance, 1)
    total *= (distance > 0) & (distance <= window)
    return np.round(total / QUANTUM) * QUANTUM


def torus_of(
    grid: tuple[int, ...], *, window: PositiveInt, spread: NonNegative, weights: Weights
) -> Torus:
    """Return the torus of a grid; arguments and errors as `spread_blue`.

    An axis of one token keeps its length.
    """
    sizes = tuple(size + 2 * window if size > 1 else 1 for size in grid)
    shortest = [(np.arange(1 - size, size) + size // 2) % size - size // 2 for size in sizes]
    offsets = np.stack(np.meshgrid(*shortest, indexing="ij"), -1)
    pressures = pressure(offsets, window=window, spread=spread, weights=weights)
    # Half the way round both directions lead to the same token: no pressure, for symmetry.
    pressures[(2 * abs(offsets) == np.array(sizes)).any(-1)] = 0.0
    return Torus(sizes, tuple(slice(size) for size in grid), pressures.astype(np.float32))


def high_pass(keys: Array, sizes: tuple[int, ...], sigma: float) -> Array:
    """Draw noise W - G * W of variance 1 on a torus: f32[B, *sizes], from keys [B].

    Raises MaskError for a sigma that is not above 0 or leaves no noise.
    """
    if not 0 < sigma < math.inf:
        raise MaskError(f"sigma {sigma}: the blur of blue noise needs a sigma above 0 tokens")
    weights = kernel(sigma)
    blurs = []
    for size in sizes:
        wrapped = np.bincount(np.arange(len(weights)) % size, weights, minlength=size)
        turned = np.roll(wrapped, -(len(weights) // 2))
        blurs.append(turned[np.subtract.outer(np.arange(size), np.arange(size)) % size])
    peak = math.prod(blur[0, 0] for blur in blurs)
    variance = 1 - 2 * peak + math.prod((blur @ blur)[0, 0] for blur in blurs)
    if variance < 1e-12:
        raise MaskError(f"sigma {sigma} leaves no noise on a grid of {sizes} tokens")
    white = jax.vmap(lambda key: jax.random.normal(key, sizes, jnp.float32))(keys)
    low = white
    for blur in blurs:
        # Each round moves its axis to the end; after the last round their order is restored.
        matrix = jnp.asarray(blur, low.dtype)
        low = jnp.tensordot(low, matrix, ((1,), (1,)), precision=jax.lax.Precision.HIGHEST)
    return (white - low) / math.sqrt(variance)


def crowding(shown: Array, torus: Torus) -> Array:
    """Sum the pressure of all visible tokens on each token: bool[B, *sizes] -> f32[B, *sizes].

    By an FFT, whose errors are far below QUANTUM and are rounded away.
    """
    axes = tuple(range(1, shown.ndim))
    around_first = torus.pressure[tuple(slice(size - 1, None) for size in torus.sizes)]
    gain = jnp.asarray(np.fft.rfftn(around_first), jnp.complex64)
    waves = jnp.fft.rfftn(shown.astype(jnp.float32), axes=axes) * gain[None]
    crowd = jnp.fft.irfftn(waves, s=torus.sizes, axes=axes)
    return jnp.round(crowd / QUANTUM) * QUANTUM


def move_apart(
    shown: Array, crowd: Array, noise: Array, torus: Torus, *, moves: int
) -> tuple[Array, Array]:
    """Move the most crowded visible token to the least crowded place, `moves` times.

    One example: shown bool[*sizes], crowd f32[*sizes] its crowding, noise f32[*sizes].
    Returns the new shown and crowd.
    """
    pressures, places = jnp.asarray(torus.pressure), jnp.arange(math.prod(torus.sizes))
    noise = noise.reshape(-1)

    def pressure_of(place: Array) -> Array:
        indices = jnp.unravel_index(place, torus.sizes)
        first = [size - 1 - index for size, index in zip(torus.sizes, indices, strict=True)]
        return jax.lax.dynamic_slice(pressures, first, torus.sizes).reshape(-1)

    def move(_, state: tuple[Array, Array]) -> tuple[Array, Array]:
        shown, crowd = state
        leaves = jnp.argmax(jnp.where(shown, crowd - noise, -jnp.inf))
        shown, crowd = shown & (places != leaves), crowd - pressure_of(leaves)
        enters = jnp.argmin(jnp.where(shown, jnp.inf, crowd - noise))
        return shown | (places == enters), crowd + pressure_of(enters)

    start = (shown.reshape(-1), crowd.reshape(-1))
    shown, crowd = jax.lax.fori_loop(0, moves, move, start)
    return shown.reshape(torus.sizes), crowd.reshape(torus.sizes)


def spread_blue_scores(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    sigma: Positive = NARROW,
    window: PositiveInt = 3,
    spread: NonNegative = 3.0,
    weights: Weights = 2.0,
) -> Array:
    """Draw noise less crowding f32[B, N], largest for the tokens left visible by the moves.

    Arguments and errors as `spread_blue`; the scores are valid for this ratio only.
    """
    grid = context.grid
    visible, hidden = split_counts(math.prod(grid), ratio)
    torus = torus_of(grid, window=window, spread=spread, weights=weights)
    cells = math.prod(torus.sizes)
    total = round(visible * cells / (visible + hidden))
    # Measured: nothing moves after half as many moves as visible tokens, or hidden if fewer.
    moves = -(-min(total, cells - total) // 2)
    noise = high_pass(randomness.each("mask"), torus.sizes, sigma)
    shown = keep_strongest(noise.reshape(noise.shape[0], -1), total).reshape(noise.shape)
    move_all = jax.vmap(lambda *example: move_apart(*example, torus, moves=moves))
    shown, crowd = move_all(shown, crowding(shown, torus), noise)
    above = 20.0 + float(torus.pressure.sum())
    scores = jnp.where(shown, above, 0.0) + noise - crowd
    return scores[(slice(None), *torus.grid)].reshape(scores.shape[0], -1)


def spread_blue(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    sigma: Positive = NARROW,
    window: PositiveInt = 3,
    spread: NonNegative = 3.0,
    weights: Weights = 2.0,
) -> Mask:
    """Hide all but single tokens spread more evenly than `colour.blue`, off lines.

    ratio: share of hidden tokens, exact after rounding. sigma: of the noise's blur, in tokens,
    above 0. window: distance up to which tokens crowd each other along each axis, in tokens, at
    least 1. spread: closeness is this times exp(-distance^2 / 4.5). weights: the penalty on a line
    is this over the distance, one number for all `directions` or one for each. Both are in standard
    deviations of the noise; with both 0 the tokens stay where blue noise has them.
    Works on a grid of any number of axes. Raises MaskError for invalid values.
    Source and differences: see the module.
    """
    scores = spread_blue_scores(
        randomness,
        context,
        ratio=ratio,
        sigma=sigma,
        window=window,
        spread=spread,
        weights=weights,
    )
    return from_scores(scores, ratio=ratio)
