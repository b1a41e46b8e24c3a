"""Power-law noise masks: blobs of every size at once, where `colour`'s noise has one size.

The power of the noise falls as 1 / f^exponent on grids of any number of axes: 1 is pink, 2 brown, 0
white, -1 blue and -2 violet. f is the length of the frequency vector. A field is a sum of waves
with Gaussian amplitudes on a torus twice as long as the grid along every axis; the grid is a window
of it, so that two of its tokens are never closer round the torus than across the grid, and opposite
borders are not neighbours. Waves longer than twice the grid are left out. The waves of an axis are
the columns of a dense real matrix, which suits matrix units.

Fields are standardised before ranking as by `gaussian.standardise`: the distance of a token from
its field's mean has exactly the same variance for all tokens. Tokens are then visible equally
often, up to a small deviation where one long wave dominates a field: of 40 tokens in a row at 75 %,
brown noise shows each in 23.8 to 26.3 % of the masks.

Source: we know of no published method that masks with it; the colours are named as in signal
processing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config.ranges import Finite, OpenFraction, Positive
from maskmim.masks.core import MaskError, from_scores
from maskmim.types import Array, Context, Mask, Randomness

PINK = 1.0
BROWN = 2.0

Scale = Positive | tuple[Positive, ...]


class Waves(NamedTuple):
    """The waves whose sum is a field.

    gain:  f64[*canvas] standard deviation of each wave's amplitude, 0 for the constant.
    bases: for each axis f64[size, canvas], orthonormal waves of the canvas on the grid's tokens.
    """

    gain: np.ndarray
    bases: tuple[np.ndarray, ...]


def canvas_size(size: int) -> int:
    """Return the length of the torus along an axis of `size` tokens: 1 for one token."""
    return 2 * size if size > 1 else 1


def axis_waves(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frequencies f64[canvas], cycles per token, and waves f64[size, canvas] of an axis.

    A constant, then a cosine and a sine for each frequency, then the alternating wave.
    """
    canvas = canvas_size(size)
    order = (np.arange(canvas) + 1) // 2
    angle = 2 * np.pi * np.outer(np.arange(size), order) / canvas
    waves = np.where(np.arange(canvas) % 2, np.cos(angle), np.sin(angle)) * math.sqrt(2 / canvas)
    waves[:, 0] = math.sqrt(1 / canvas)
    if canvas > 1:
        waves[:, -1] /= math.sqrt(2)
    return order / canvas, waves


def waves_of(grid: tuple[int, ...], exponent: float, scale: Scale = 1.0) -> Waves:
    """Return the waves of a power law on a grid; exponent and scale as in `power_law`.

    Raises MaskError for an exponent whose power is not finite, and for scales that are not positive
    or do not fit the grid's axes.
    """
    scales = scale if isinstance(scale, tuple) else (scale,) * len(grid)
    if len(scales) != len(grid) or not all(0 < factor < math.inf for factor in scales):
        raise MaskError(
            f"scale {scale}: give one positive number, or one for each axis of the grid {grid}"
        )
    parts = [axis_waves(size) for size in grid]
    stretched = [factor * frequency for factor, (frequency, _) in zip(scales, parts, strict=True)]
    squared = sum(along_axis**2 for along_axis in np.meshgrid(*stretched, indexing="ij"))
    constant = (0,) * len(grid)
    squared[constant] = 1.0
    with np.errstate(over="ignore"):
        gain = squared ** (-exponent / 4)
    gain[constant] = 0.0
    if not (math.isfinite(exponent) and gain.max() < np.finfo(np.float32).max):
        raise MaskError(f"exponent {exponent}: the power of a wave is not finite; use -4 to 4")
    return Waves(gain, tuple(waves for _, waves in parts))


def noise(keys: Array, waves: Waves) -> Array:
    """Draw fields f32[B, *grid], each from its own key of `keys` [B]."""
    amplitudes = jax.vmap(lambda key: jax.random.normal(key, waves.gain.shape, jnp.float32))(keys)
    field = amplitudes * jnp.asarray(waves.gain, amplitudes.dtype)[None]
    for basis in waves.bases:
        # Each round moves its axis to the end; after the last round their order is restored.
        matrix = jnp.asarray(basis, field.dtype)
        field = jnp.tensordot(field, matrix, ((1,), (1,)), precision=jax.lax.Precision.HIGHEST)
    return field


def deviation(waves: Waves) -> np.ndarray:
    """Return the exact standard deviation f64[*grid] of every token about its field's mean."""
    power = waves.gain**2
    means = [basis.mean(0, keepdims=True) for basis in waves.bases]
    squares = [basis**2 for basis in waves.bases]
    products = [basis * mean for basis, mean in zip(waves.bases, means, strict=True)]
    squared_means = [mean**2 for mean in means]
    variance = _sum_waves(power, squares)
    with_mean, of_mean = _sum_waves(power, products), _sum_waves(power, squared_means)
    return np.sqrt(variance - 2 * with_mean + of_mean)


def _sum_waves(power: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    for matrix in matrices:
        power = np.tensordot(power, matrix, ((0,), (1,)))
    return power


def power_law_scores(
    randomness: Randomness, context: Context, *, exponent: Finite = PINK, scale: Scale = 1.0
) -> Array:
    """Draw standardised power-law noise f32[B, N].

    Arguments and errors as `power_law`.
    """
    waves = waves_of(context.grid, exponent, scale)
    field = noise(randomness.each("mask"), waves)
    centred = field - field.mean(tuple(range(1, field.ndim)), keepdims=True)
    scores = centred / jnp.asarray(deviation(waves), field.dtype)[None]
    return scores.reshape(scores.shape[0], -1)


def power_law(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    exponent: Finite = PINK,
    scale: Scale = 1.0,
) -> Mask:
    """Hide tokens where power-law noise is weakest.

    ratio: share of hidden tokens, exact after rounding.
    exponent: the power is 1 / f^exponent; negative ones favour fine detail.
    scale: factor by which structures are longer along an axis, one number for each axis; (2, 1, 1)
    makes those of a clip last twice as many time steps as they cover rows. One number for all axes
    changes nothing, since a power law has no characteristic length.
    Works on a grid of any number of axes; an axis of one token does not count as one.
    Raises MaskError for an invalid exponent or scale.
    """
    scores = power_law_scores(randomness, context, exponent=exponent, scale=scale)
    return from_scores(scores, ratio=ratio)


def pink(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, scale: Scale = 1.0
) -> Mask:
    """Hide all but groups of tokens of every size, by noise of power 1 / f.

    ratio: share of hidden tokens, exact after rounding. scale: see `power_law`.
    """
    return power_law(randomness, context, ratio=ratio, exponent=PINK, scale=scale)


def brown(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, scale: Scale = 1.0
) -> Mask:
    """Hide all but a few large regions with ragged rims, by noise of power 1 / f^2.

    ratio: share of hidden tokens, exact after rounding. scale: see `power_law`.
    """
    return power_law(randomness, context, ratio=ratio, exponent=BROWN, scale=scale)
