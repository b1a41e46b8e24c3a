"""What masks look like, in numbers: plain numpy on maps of visible tokens, bool[B, h, w]."""

from __future__ import annotations

import numpy as np


def visible_map(visible: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Indices i32[B, K] of visible tokens as a map bool[B, *grid]."""
    shown = np.zeros((len(visible), int(np.prod(grid))), bool)
    np.put_along_axis(shown, np.asarray(visible), True, axis=1)
    return shown.reshape(len(visible), *grid)


def component_labels(visible: np.ndarray) -> np.ndarray:
    """Labels i64[B, h, w] of 4-connected groups of visible tokens; 0 where nothing is visible.

    A group's label is the place of its first token in its map, counted from 1. Each round hands
    the smallest label to neighbours and then follows labels to the labels of the tokens they
    name, until nothing changes.
    """
    count, height, width = visible.shape
    cells = height * width
    nothing = cells + 1
    start = np.where(visible, np.arange(1, cells + 1).reshape(height, width), nothing)
    labels = start
    while True:
        padded = np.pad(labels, ((0, 0), (1, 1), (1, 1)), constant_values=nothing)
        upright = np.minimum(padded[:, :-2, 1:-1], padded[:, 2:, 1:-1])
        across = np.minimum(padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
        low = np.minimum(labels, np.minimum(upright, across))
        low = np.where(visible, low, nothing)
        named = np.concatenate([low.reshape(count, cells), np.full((count, 1), nothing)], axis=1)
        jumped = np.take_along_axis(named, low.reshape(count, cells) - 1, axis=1)
        jumped = jumped.reshape(low.shape)
        if np.array_equal(jumped, labels):
            return np.where(visible, labels, 0)
        labels = jumped


def mean_component_size(visible: np.ndarray) -> np.ndarray:
    """Mean number of tokens f64[B] of each map's 4-connected groups of visible tokens.

    Raises ValueError for a map without a visible token.
    """
    tokens = visible.reshape(len(visible), -1).sum(1)
    if (tokens == 0).any():
        raise ValueError(f"map {int(np.argmin(tokens))} has no visible token: no group to measure")
    labels = component_labels(visible).reshape(len(visible), -1)
    roots = labels == np.arange(1, labels.shape[1] + 1)
    return tokens / roots.sum(1)


def coverage(visible: np.ndarray) -> np.ndarray:
    """Share f64[*grid] of the maps in which each token is visible: bool[B, *grid]."""
    return visible.mean(0, dtype=np.float64)


def coverage_chi_square(visible: np.ndarray) -> tuple[float, int]:
    """Whether every token is visible equally often: (statistic, degrees of freedom).

    bool[B, *grid], the same number of visible tokens in every map. Under equal coverage the
    statistic follows chi-square for B much larger than the number of tokens. Tokens of one map
    are not independent, so this is Wald's form with their measured covariance, not the sum of
    squares over tokens.
    """
    flat = visible.reshape(len(visible), -1).astype(np.float64)
    off = flat.mean(0) - flat.mean()
    covariance = np.cov(flat, rowvar=False)
    inverse = np.linalg.pinv(covariance, rcond=1e-9, hermitian=True)
    return float(len(flat) * off @ inverse @ off), flat.shape[1] - 1


def pairwise_overlap(visible: np.ndarray) -> float:
    """Mean share of a map's visible tokens that are visible in another map too, over all pairs.

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
    """Euclidean distance f64[B, h, w], in tokens, from each token to the nearest visible one.

    0 at visible tokens. Raises ValueError for a map without a visible token.
    """
    places = np.indices(visible.shape[1:]).reshape(visible.ndim - 1, -1).T
    distances = np.sqrt(((places[:, None] - places[None]) ** 2).sum(-1))
    nearest = np.empty((len(visible), len(places)))
    for row, shown in enumerate(visible.reshape(len(visible), -1)):
        if not shown.any():
            raise ValueError(f"map {row} has no visible token: no distance to measure")
        nearest[row] = distances[:, shown].min(1)
    return nearest.reshape(visible.shape)


def radial_power(fields: np.ndarray, *, rings: int) -> tuple[np.ndarray, np.ndarray]:
    """Power spectrum averaged over maps and over rings of equal frequency.

    fields: [B, h, w] of any real type (masks, noise); each field's mean is taken off first.
    rings:  number of rings between 0 and half a cycle per token.
    Returns the rings' middle frequencies f64[rings] in cycles per token, and the mean power
    f64[rings] in units in which white noise of variance 1 has power 1; nan for an empty ring.
    """
    fields = np.asarray(fields, np.float64)
    fields = fields - fields.mean((1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(fields)) ** 2).mean(0) / np.prod(fields.shape[1:])
    power[0, 0] = np.nan
    return ring_mean(power, rings=rings)


def ring_mean(power: np.ndarray, *, rings: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over rings of a spectrum [h, w] in numpy's FFT order; nan entries are left out.

    Returns the middle frequencies f64[rings], cycles per token up to 0.5, and means f64[rings].
    """
    rows, columns = (np.fft.fftfreq(size) for size in power.shape)
    frequency = np.hypot(rows[:, None], columns[None])
    ring = np.ceil(frequency * 2 * rings - 1e-9).astype(int) - 1
    kept = (ring >= 0) & (ring < rings) & ~np.isnan(power)
    totals = np.bincount(ring[kept], power[kept], minlength=rings)
    counts = np.bincount(ring[kept], minlength=rings)
    middles = (np.arange(rings) + 0.5) / (2 * rings)
    with np.errstate(invalid="ignore"):
        return middles, totals / counts
