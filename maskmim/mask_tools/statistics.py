"""Statistics of masks, in numpy on maps of visible tokens, bool[B, *grid].

A grid has any number of axes. Neighbours are tokens one step apart along one axis: 2 in a sequence,
4 in an image, 6 in a clip.
"""

from __future__ import annotations

import numpy as np
from jax.scipy.special import betainc


def visible_map(visible: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Return the map bool[B, *grid] of the indices i32[B, K] of visible tokens."""
    maps = np.zeros((len(visible), int(np.prod(grid))), bool)
    np.put_along_axis(maps, np.asarray(visible), True, axis=1)
    return maps.reshape(len(visible), *grid)


def component_labels(visible: np.ndarray) -> np.ndarray:
    """Return labels i64[B, *grid] of connected groups of visible tokens; 0 for other tokens.

    A group's label is the index of its first token in its map, counted from 1. Each round gives
    neighbours the smallest label among them, then replaces each label by the label of the token
    that it names, until nothing changes.
    """
    count, grid = len(visible), visible.shape[1:]
    cells = int(np.prod(grid))
    nothing = cells + 1
    labels = np.where(visible, np.arange(1, cells + 1).reshape(grid), nothing)
    while True:
        low = np.where(visible, _smallest_nearby(labels, nothing), nothing)
        named = np.concatenate([low.reshape(count, cells), np.full((count, 1), nothing)], axis=1)
        jumped = np.take_along_axis(named, low.reshape(count, cells) - 1, axis=1)
        jumped = jumped.reshape(low.shape)
        if np.array_equal(jumped, labels):
            return np.where(visible, labels, 0)
        labels = jumped


def _smallest_nearby(labels: np.ndarray, nothing: int) -> np.ndarray:
    """Return the smallest label of each token and its neighbours, `nothing` beyond the rim."""
    low = labels
    for axis in range(1, labels.ndim):
        rim = np.full_like(labels.take([0], axis), nothing)
        before = np.concatenate([rim, np.delete(labels, -1, axis)], axis)
        after = np.concatenate([np.delete(labels, 0, axis), rim], axis)
        low = np.minimum(low, np.minimum(before, after))
    return low


def mean_component_size(visible: np.ndarray) -> np.ndarray:
    """Return the mean number of tokens f64[B] of each map's connected groups of visible tokens.

    Raises ValueError for a map without a visible token.
    """
    tokens = visible.reshape(len(visible), -1).sum(1)
    if (tokens == 0).any():
        raise ValueError(f"map {int(np.argmin(tokens))} has no visible token: no group to measure")
    labels = component_labels(visible).reshape(len(visible), -1)
    roots = labels == np.arange(1, labels.shape[1] + 1)
    return tokens / roots.sum(1)


def coverage(visible: np.ndarray) -> np.ndarray:
    """Return the share of the maps in which each token is visible: bool[B, *grid] -> f64[*grid]."""
    return visible.mean(0, dtype=np.float64)


def coverage_chi_square(visible: np.ndarray) -> tuple[float, int]:
    """Test whether every token is visible equally often: (statistic, degrees of freedom).

    visible: [B, *grid] maps drawn independently, or shares of `pool`.
    Under equal coverage the statistic follows chi-square for B much larger than the number of
    tokens. Tokens of one map are not independent, so this is Wald's form with their measured
    covariance, not the sum of squares over tokens; each map's mean is subtracted first, as counts
    may vary. The degrees of freedom are the rank of that covariance: N - 1, fewer where tokens are
    always visible or hidden together. The statistic is infinite where some tokens differ from
    others in the same way in every map.

    Raises ValueError unless the number of maps exceeds the degrees of freedom plus one.
    """
    flat = visible.reshape(len(visible), -1).astype(np.float64)
    flat -= flat.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
    varies = values > max(1e-9 * values[-1], 1e-12)
    degrees = int(varies.sum())
    if len(flat) <= degrees + 1:
        raise ValueError(
            f"{len(flat)} maps are too few for {degrees} degrees of freedom: draw more masks, or "
            "pool tokens"
        )
    offsets = vectors.T @ flat.mean(0)
    if np.abs(offsets[~varies]).max(initial=0.0) > 1e-6:
        return float("inf"), degrees
    return float(len(flat) * (offsets[varies] ** 2 / values[varies]).sum()), degrees


def coverage_p_value(visible: np.ndarray) -> float:
    """Return the probability of coverage at least this uneven if all tokens are equally likely.

    Applies Hotelling's correction to `coverage_chi_square`, as the covariance is measured on the
    same maps: with 2,000 maps and 195 degrees of freedom the statistic is on average 216, not 195.
    Arguments and errors are those of `coverage_chi_square`.
    """
    statistic, degrees = coverage_chi_square(visible)
    count = len(visible)
    if degrees == 0:
        return 0.0 if statistic else 1.0
    beyond = 1 / (1 + statistic / (count - 1))
    return float(betainc((count - degrees) / 2, degrees / 2, beyond))


def pool(visible: np.ndarray, *, cells: int) -> np.ndarray:
    """Return the shares f64[B, *smaller grid] of visible tokens in at most `cells` blocks.

    Blocks are 2 tokens long along every axis, then 4, and so on, until they are few enough; those
    at the far rim are shorter where the grid is not a multiple.
    """
    shares, length = visible.astype(np.float64), 1
    while np.prod(shares.shape[1:]) > cells:
        length *= 2
        shares = visible.astype(np.float64)
        for axis, size in enumerate(visible.shape[1:], start=1):
            starts = np.arange(0, size, length)
            sizes = np.diff(np.append(starts, size))
            counts = np.expand_dims(sizes, [a for a in range(visible.ndim) if a != axis])
            shares = np.add.reduceat(shares, starts, axis) / counts
    return shares


def pairwise_overlap(visible: np.ndarray) -> float:
    """Return the mean share of a map's visible tokens that another map shows too, over all pairs.

    bool[B, *grid] with the same number of visible tokens in every map; K / N for independent,
    uniform masks, 1 for equal ones. Raises ValueError for fewer than two maps.
    """
    if len(visible) < 2:
        raise ValueError("overlap needs at least two maps")
    flat = visible.reshape(len(visible), -1)
    tokens = int(flat.sum())
    shared = float((flat.sum(0, dtype=np.float64) ** 2).sum()) - tokens
    return shared / (tokens * (len(flat) - 1))


def distance_to_visible(visible: np.ndarray) -> np.ndarray:
    """Return the Euclidean distance f64[B, *grid], in tokens, to the nearest visible token.

    0 at visible tokens. Raises ValueError for a map without a visible token.
    """
    measurable = visible.reshape(len(visible), -1).any(1)
    if not measurable.all():
        raise ValueError(
            f"map {int(np.argmin(measurable))} has no visible token: no distance to measure"
        )
    squares = np.where(visible, 0.0, np.inf)
    for axis in range(1, visible.ndim):
        squares = _nearest_along(squares, axis)
    return np.sqrt(squares)


def _nearest_along(squares: np.ndarray, axis: int) -> np.ndarray:
    """Return the minimum over the tokens of each token's line of value + squared distance."""
    size = squares.shape[axis]
    line = np.moveaxis(squares, axis, -1)
    least = np.full(line.shape, np.inf)
    for index in range(size):
        distances = (np.arange(size) - index) ** 2
        np.minimum(least, line[..., index : index + 1] + distances, out=least)
    return np.moveaxis(least, -1, axis)


def mean_hidden_distance(visible: np.ndarray) -> np.ndarray:
    """Return the mean distance f64[B], in tokens, of hidden tokens to the nearest visible one.

    One mean per map; nan for a map that hides nothing.
    Raises ValueError for a map without a visible token.
    """
    distances = distance_to_visible(visible).reshape(len(visible), -1)
    hidden = (~visible).reshape(len(visible), -1).sum(1)
    return np.divide(distances.sum(1), hidden, out=np.full(len(visible), np.nan), where=hidden > 0)


def power_spectrum(fields: np.ndarray) -> np.ndarray:
    """Return the power f64[*grid] of every frequency in numpy's FFT order, averaged over fields.

    fields: [B, *grid] of any real type (masks, noise); each field's mean is subtracted first.
    White noise of variance 1 has power 1; nan for the constant.
    """
    fields = np.asarray(fields, np.float64)
    axes = tuple(range(1, fields.ndim))
    fields = fields - fields.mean(axes, keepdims=True)
    power = (np.abs(np.fft.fftn(fields, axes=axes)) ** 2).mean(0) / np.prod(fields.shape[1:])
    power[(0,) * power.ndim] = np.nan
    return power


def radial_power(fields: np.ndarray, *, rings: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the power spectrum averaged over maps and over rings of equal frequency.

    fields: [B, *grid], see `power_spectrum`.
    rings:  number of rings between 0 and half a cycle per token.
    Returns the rings' middle frequencies f64[rings] in cycles per token, and the mean power
    f64[rings]; nan for an empty ring.
    """
    return ring_mean(power_spectrum(fields), rings=rings)


def ring_mean(power: np.ndarray, *, rings: int) -> tuple[np.ndarray, np.ndarray]:
    """Average a spectrum [*grid] in numpy's FFT order over rings; nan entries are left out.

    Returns the middle frequencies f64[rings], cycles per token up to 0.5, and means f64[rings].
    """
    ring = np.ceil(frequencies(power.shape) * 2 * rings - 1e-9).astype(int) - 1
    counted = (ring >= 0) & (ring < rings) & ~np.isnan(power)
    totals = np.bincount(ring[counted], power[counted], minlength=rings)
    counts = np.bincount(ring[counted], minlength=rings)
    middles = (np.arange(rings) + 0.5) / (2 * rings)
    with np.errstate(invalid="ignore"):
        return middles, totals / counts


def frequencies(grid: tuple[int, ...]) -> np.ndarray:
    """Return the radial frequency f64[*grid], cycles per token, in numpy's FFT order."""
    axes = np.meshgrid(*(np.fft.fftfreq(size) for size in grid), indexing="ij")
    return np.sqrt(sum(axis**2 for axis in axes))


def band_powers(fields: np.ndarray) -> np.ndarray:
    """Return the power f64[3] at low, middle and high frequencies, relative to white noise.

    White noise of the same variance has 1, 1, 1. Low ends at 1/6 of a cycle per token, middle at
    1/3; high is the rest, with the corners of the spectrum. nan for a band without frequencies and
    for constant fields.
    """
    power = power_spectrum(fields)
    frequency = frequencies(power.shape)
    band = (frequency > 1 / 6 + 1e-9).astype(int) + (frequency > 1 / 3 + 1e-9)
    counted = ~np.isnan(power)
    totals = np.bincount(band[counted], power[counted], minlength=3)
    counts = np.bincount(band[counted], minlength=3)
    with np.errstate(invalid="ignore"):
        return totals / counts / power[counted].mean()
