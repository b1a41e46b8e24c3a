"""Power-law noise masks: blobs of every size at once, where `colour`'s noise has one size.

The power of the noise falls as 1 / f^exponent on grids of any number of axes: 1 is pink, 2 brown, 0
white, -1 blue and -2 violet. f is the length of the frequency vector. A field is a sum of waves
with Gaussian amplitudes round a torus twice as long as the grid along every axis; the grid is cut
out of it, so two of its tokens are never closer round the torus than across the grid, and opposite
borders are not neighbours. Waves slower than one in twice the grid are left out. The waves of an
axis are the columns of a dense real matrix, which suits matrix units.

Fields are evened before ranking as by `gaussian.evened`: the distance of a token from the mean of
its field has the same variance for all tokens, exactly. Tokens are then visible equally often, up
to a small rest where one slow wave rules a field: of 40 tokens in a row at 75 %, brown noise shows
each in 23.8 to 26.3 % of the masks.

Source: we know of no published method that masks with it; the colours are named as in signal
processing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.masks.core import MaskError, from_scores
from maskmim.types import Array, Context, Mask, Randomness

PINK = 1.0
BROWN = 2.0

Scale = float | tuple[float, ...]


class Waves(NamedTuple):
    """The waves that make a field.

    gain:  f64[*canvas] standard deviation of each wave's amplitude, 0 for the constant.
    bases: for each axis f64[size, canvas], orthonormal waves of the canvas on the grid's tokens.
    """

    gain: np.ndarray
    bases: tuple[np.ndarray, ...]


def canvas_size(size: int) -> int:
    """The length of the torus along an axis of `size` tokens; an axis of one token has no waves."""
    return 2 * size if size > 1 else 1


def axis_waves(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies f64[canvas], cycles per token, and waves f64[size, canvas] of one axis.

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
    """The waves of a power law on a grid; exponent and scale as in `power_law`.

    Raises MaskError for an exponent whose power is not finite, and for scales that are not positive
    or do not fit the grid's axes.
    """
    scales = scale if isinstance(scale, tuple) else (scale,) * len(grid)
    if len(scales) != len(grid) or not all(0 < each < math.inf for each in scales):
        raise MaskError(
            f"scale {scale}: give one positive number, or one for each axis of the grid {grid}"
        )
    parts = [axis_waves(size) for size in grid]
    stretched = [each * frequency for each, (frequency, _) in zip(scales, parts, strict=True)]
    squared = sum(each**2 for each in np.meshgrid(*stretched, indexing="ij"))
    constant = (0,) * len(grid)
    squared[constant] = 1.0
    with np.errstate(over="ignore"):
        gain = squared ** (-exponent / 4)
    gain[constant] = 0.0
    if not (math.isfinite(exponent) and gain.max() < np.finfo(np.float32).max):
        raise MaskError(f"exponent {exponent}: the slowest waves' power is not finite; use -4 to 4")
    return Waves(gain, tuple(waves for _, waves in parts))


def noise(keys: Array, waves: Waves) -> Array:
    """Fields f32[B, *grid], each from its own key of `keys` [B]."""
    amplitudes = jax.vmap(lambda key: jax.random.normal(key, waves.gain.shape))(keys)
    field = amplitudes * jnp.asarray(waves.gain, amplitudes.dtype)
    for basis in waves.bases:
        # Each round moves the axis it handles to the end; after the last they are in order again.
        matrix = jnp.asarray(basis, field.dtype)
        field = jnp.tensordot(field, matrix, ((1,), (1,)), precision=jax.lax.Precision.HIGHEST)
    return field


def deviation(waves: Waves) -> np.ndarray:
    """Standard deviation f64[*grid] of every token about the mean of its field, exactly."""
    power = waves.gain**2
    means = [basis.mean(0, keepdims=True) for basis in waves.bases]
    alone = [basis**2 for basis in waves.bases]
    with_mean = [basis * mean for basis, mean in zip(waves.bases, means, strict=True)]
    of_mean = [mean**2 for mean in means]
    return np.sqrt(_summed(power, alone) - 2 * _summed(power, with_mean) + _summed(power, of_mean))


def _summed(power: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    for matrix in matrices:
        power = np.tensordot(power, matrix, ((0,), (1,)))
    return power


def power_law_scores(
    randomness: Randomness, context: Context, *, exponent: float = PINK, scale: Scale = 1.0
) -> Array:
    """Evened power-law noise f32[B, N]: less its field's mean, over each token's deviation.

    Arguments and errors as `power_law`.
    """
    waves = waves_of(context.grid, exponent, scale)
    field = noise(randomness.each("mask"), waves)
    centred = field - field.mean(tuple(range(1, field.ndim)), keepdims=True)
    even = centred / jnp.asarray(deviation(waves), field.dtype)
    return even.reshape(even.shape[0], -1)


def power_law(
    randomness: Randomness,
    context: Context,
    *,
    ratio: float,
    exponent: float = PINK,
    scale: Scale = 1.0,
) -> Mask:
    """Keeps tokens visible where power-law noise is strongest.

    ratio: share of hidden tokens, exact after rounding.
    exponent: the power is 1 / f^exponent; negative ones favour fine detail.
    scale: how many times longer structures are along an axis, one number for each axis; (2, 1, 1)
    makes those of a clip last twice as many steps of time as they cover rows. One number for all
    axes changes nothing, a power law has no length of its own.
    Works on a grid of any number of axes; an axis of one token does not count as one.
    Raises MaskError for an exponent or a scale that cannot be.
    """
    scores = power_law_scores(randomness, context, exponent=exponent, scale=scale)
    return from_scores(scores, ratio=ratio)


def pink(randomness: Randomness, context: Context, *, ratio: float, scale: Scale = 1.0) -> Mask:
    """Groups of visible tokens of every size: noise of power 1 / f.

    ratio: share of hidden tokens, exact after rounding. scale: see `power_law`.
    """
    return power_law(randomness, context, ratio=ratio, exponent=PINK, scale=scale)


def brown(randomness: Randomness, context: Context, *, ratio: float, scale: Scale = 1.0) -> Mask:
    """A few large regions of visible tokens with ragged rims: noise of power 1 / f^2.

    ratio: share of hidden tokens, exact after rounding. scale: see `power_law`.
    """
    return power_law(randomness, context, ratio=ratio, exponent=BROWN, scale=scale)
