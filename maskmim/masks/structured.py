"""Structured-noise masks of video: band-pass noise whose visible groups drift through time.

White noise W on (time, rows, columns) is filtered to G_s1 * W - G_s2 * W with three-dimensional
Gaussian blurs, s1 < s2, and the strongest tokens of each clip stay visible: groups of one size that
last for some time steps, between independent masks for each step and one mask for all.

Source: Green3D of arXiv 2503.16311 (Bhowmik et al.); no official code was found.
Known of the paper: the filter, that both sigmas are drawn from ranges, and that an exact share of
each clip is kept by ranking. Not known: the ranges. Those here, and separate ranges for time and
space, are ours; units are tokens, so a time step is a tubelet.
Differences: the authors store masks and crop and flip them; here every clip draws its own noise and
sigmas, uniformly, and fields are standardised before ranking, see `gaussian.standardise`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction, PositiveRange
from maskmim.masks.core import MaskError, from_scores
from maskmim.masks.gaussian import Blur, deviation, radius
from maskmim.types import Array, Context, Mask, Randomness

Range = PositiveRange

NARROW: Range = (0.75, 1.25)
WIDE: Range = (1.75, 2.5)


def sigma_ranges(
    grid: tuple[int, ...], narrow: Range, wide: Range, time_narrow: Range, time_wide: Range
) -> np.ndarray:
    """Return the ranges f64[2 blurs, 3 axes, 2] of the sigmas, narrow blur first, low end first.

    Raises MaskError unless the grid has three axes, every range ascends from above 0, and narrow
    ranges end below wide ones, far enough to leave a difference.
    """
    if len(grid) != 3:
        raise MaskError(
            f"the grid {grid} has {len(grid)} axes: green3d masks clips of (time, rows, columns); "
            "use colour.green for others"
        )
    for small, large in ((narrow, wide), (time_narrow, time_wide)):
        if not 0 < small[0] <= small[1] < large[0] <= large[1] < np.inf:
            raise MaskError(
                f"sigmas from {small} and {large}: each range must ascend from above 0, and the "
                "first must end below the second"
            )
    ranges = np.array([[time_narrow, narrow, narrow], [time_wide, wide, wide]], np.float64)
    closest = (Blur(1.0, tuple(ranges[0, :, 1])), Blur(-1.0, tuple(ranges[1, :, 0])))
    deviation(grid, closest)
    return ranges


def blur_matrix(sigma: Array, size: int, *, reach: int, margin: int) -> Array:
    """Return the matrix f32[size, size + 2 * margin] that blurs an axis and drops its margin.

    sigma: f32[], may be traced. reach: static reach of the kernel, at least 4 sigmas and at most
    the margin.
    """
    offset = np.arange(size + 2 * margin) - margin - np.arange(size)[:, None]
    weights = jnp.where(
        abs(offset) <= reach, jnp.exp(-0.5 * (offset.astype(np.float32) / sigma) ** 2), 0.0
    )
    return weights / weights.sum(1, keepdims=True)


def band_matrices(
    sigmas: Array, grid: tuple[int, ...], ranges: np.ndarray
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Return the matrices of the narrow and of the wide blur for each axis, of sigmas f32[2, 3]."""
    reaches = [[radius(high) for high in blur] for blur in ranges[:, :, 1]]
    narrow, wide = (
        tuple(
            blur_matrix(sigma[axis], size, reach=reach[axis], margin=reaches[1][axis])
            for axis, size in enumerate(grid)
        )
        for sigma, reach in zip(sigmas, reaches, strict=True)
    )
    return narrow, wide


def band_pass(canvas: Array, narrow: tuple[Array, ...], wide: tuple[Array, ...]) -> Array:
    """Subtract two blurs of white noise: f32[*(grid + 2 * margin)] -> f32[*grid]."""
    return _blur(canvas, narrow) - _blur(canvas, wide)


def band_deviation(narrow: tuple[Array, ...], wide: tuple[Array, ...]) -> Array:
    """Return the standard deviation f32[*grid] of every token about the mean of its field.

    As `gaussian.deviation`, for traced matrices.
    """
    variance, with_mean = 0.0, 0.0
    for first, second, weight in ((narrow, narrow, 1), (narrow, wide, -2), (wide, wide, 1)):
        pairs = list(zip(first, second, strict=True))
        variance += weight * _outer([(a * b).sum(1) for a, b in pairs])
        to_mean = _outer([a @ b.mean(0) for a, b in pairs])
        with_mean += weight * (to_mean + _outer([b @ a.mean(0) for a, b in pairs])) / 2
    return jnp.sqrt(variance - 2 * with_mean + with_mean.mean())


def _blur(field: Array, matrices: tuple[Array, ...]) -> Array:
    for matrix in matrices:
        # Each round moves its axis to the end; after the last round their order is restored.
        field = jnp.tensordot(field, matrix, ((0,), (1,)), precision=jax.lax.Precision.HIGHEST)
    return field


def _outer(vectors: list[Array]) -> Array:
    times, rows, columns = vectors
    return times[:, None, None] * rows[None, :, None] * columns[None, None]


def green3d_scores(
    randomness: Randomness,
    context: Context,
    *,
    narrow: Range = NARROW,
    wide: Range = WIDE,
    time_narrow: Range = NARROW,
    time_wide: Range = WIDE,
) -> Array:
    """Draw standardised band-pass noise f32[B, N], with sigmas drawn for each clip.

    Arguments and errors as `green3d`.
    """
    grid = context.grid
    ranges = sigma_ranges(grid, narrow, wide, time_narrow, time_wide)
    shape = tuple(
        size + 2 * radius(sigma) for size, sigma in zip(grid, ranges[1, :, 1], strict=True)
    )

    def clip(key: Array) -> Array:
        for_noise, for_sigmas = jax.random.split(key)
        low, high = jnp.asarray(ranges[:, ::2, 0]), jnp.asarray(ranges[:, ::2, 1])
        pairs = jax.random.uniform(
            for_sigmas, (2, 2), jnp.float32, minval=low[:, :2], maxval=high[:, :2]
        )
        sigmas = pairs[:, np.array([0, 1, 1])]
        matrices = band_matrices(sigmas, grid, ranges)
        field = band_pass(jax.random.normal(for_noise, shape, jnp.float32), *matrices)
        return (field - field.mean()) / band_deviation(*matrices)

    scores = jax.vmap(clip)(randomness.each("mask"))
    return scores.reshape(scores.shape[0], -1)


@facts.sampler(axes=(3,))
def green3d(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    narrow: Range = NARROW,
    wide: Range = WIDE,
    time_narrow: Range = NARROW,
    time_wide: Range = WIDE,
) -> Mask:
    """Hide all but groups of tokens that drift through a clip, by band-pass noise.

    ratio: share of hidden tokens of each clip, exact after rounding.
    narrow, wide: ranges of the two blurs' sigmas along rows and columns, in tokens; each clip draws
    one of each. time_narrow, time_wide: the same along time, in time steps.
    Raises MaskError unless the grid has three axes, and for invalid ranges.
    Source and differences: see the module.
    """
    scores = green3d_scores(
        randomness,
        context,
        narrow=narrow,
        wide=wide,
        time_narrow=time_narrow,
        time_wide=time_wide,
    )
    return from_scores(scores, ratio=ratio)
