"""Regions of photographs: segments of Felzenszwalb and Huttenlocher, found while data is read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
from scipy.ndimage import gaussian_filter

from maskmim.config import kinds
from maskmim.config.ranges import NonNegative, NonNegativeInt, Positive, PositiveInt
from maskmim.data.decode import picture

Pair = tuple[np.ndarray, np.ndarray]

# Between these shares of the edges, edges inside a segment are dropped in one numpy operation.
_PASSES = 16
# Maps by the digest of pixels and parameters, packed; those of one process.
_kept: dict[str, bytes] = {}


def segmented(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray,
    channels: PositiveInt = 3,
    *,
    decode: Annotated[Callable[..., np.ndarray], kinds.DECODER] = picture,
    stream: str = "image",
    field: str = "regions",
    scale: Positive = 1000.0,
    sigma: NonNegative = 0.8,
    min_size: PositiveInt = 1000,
    cache: str = "",
    remember: NonNegativeInt = 20_000,
) -> dict[str, np.ndarray]:
    """Decode a photograph and segment it: {stream: u8[H, W, C], field: i32[H, W]}.

    decode:   decoder brick of the photograph.
    scale, sigma, min_size: of `felzenszwalb`; the defaults are R-MAE's and scikit-image's.
    cache:    folder of maps, one file for each photograph, read by every worker and every later
              run; '' for none.
    remember: maps that a process keeps in memory where there is no folder: the first so many.
    A map depends on the decoded pixels and the parameters alone, and is stored under their digest,
    so that what is cached never changes an example.
    Source: R-MAE (arXiv 2306.05411), tools/preprocess of facebookresearch/r-mae, which segments
    whole photographs before training. Difference: maps of more than 256 segments keep them all
    (the official files have 8 bits).
    """
    pixels = decode(rng, encoded, channels=channels)
    digest = hashlib.sha256(f"{pixels.shape} {scale} {sigma} {min_size}".encode())
    digest.update(np.ascontiguousarray(pixels))
    key = digest.hexdigest()
    labels = _recall(cache, key)
    if labels is None:
        labels = felzenszwalb(pixels, scale=scale, sigma=sigma, min_size=min_size)
        _store(cache, key, labels, remember)
    return {stream: pixels, field: labels}


def felzenszwalb(
    pixels: np.ndarray, *, scale: float = 1000.0, sigma: float = 0.8, min_size: int = 1000
) -> np.ndarray:
    """Segment a picture by its graph of neighbouring pixels: u8[H, W, C] -> i32[H, W].

    Each pixel is joined to its 8 neighbours by an edge that costs the distance of their colours in
    [0, 1], after a Gaussian blur. Edges are taken from the cheapest on; one joins two segments
    where it costs less than, for both, the dearest edge inside plus scale / 255 / size. Then, in
    the same order, segments of fewer than min_size pixels join a neighbour.
    scale:    a larger one makes larger segments. sigma: of the blur, in pixels.
    min_size: in pixels.
    Labels count from 0 in the order of the segments' first pixels.
    Source: Felzenszwalb and Huttenlocher (IJCV 2004); equal to skimage.segmentation.felzenszwalb.
    Difference: of edges of one cost the first comes first (right, down, down right, up right, each
    row by row), where numpy's default sort takes them in an order that depends on the processor.
    """
    levels = np.atleast_3d(pixels) / 255.0
    blurred = gaussian_filter(levels, sigma=(sigma, sigma, 0), mode="reflect")
    ends, costs = _edges(blurred)
    order = np.argsort(costs, kind="stable")
    first, second = (each[order] for each in ends)
    parent = _merge((first, second), costs[order], scale / 255.0, pixels.shape[0] * pixels.shape[1])
    parent = _absorb((first, second), parent, min_size)
    labels = np.unique(_roots(parent), return_inverse=True)[1]
    return labels.reshape(pixels.shape[:2]).astype(np.int32)


def _edges(values: np.ndarray) -> tuple[Pair, np.ndarray]:
    """Return the two pixels of every edge i64[E], and its cost f64[E]; values: f64[H, W, C]."""
    numbers = np.arange(values.shape[0] * values.shape[1]).reshape(values.shape[:2])
    every, but_first, but_last = slice(None), slice(1, None), slice(None, -1)
    sides = (
        ((every, but_first), (every, but_last)),
        ((but_first, every), (but_last, every)),
        ((but_first, but_first), (but_last, but_last)),
        ((but_last, but_first), (but_first, but_last)),
    )
    one = np.concatenate([numbers[a].ravel() for a, _ in sides])
    two = np.concatenate([numbers[b].ravel() for _, b in sides])
    steps = [values[a] - values[b] for a, b in sides]
    costs = [np.sqrt(np.sum(step * step, axis=-1)).ravel() for step in steps]
    return (one, two), np.concatenate(costs)


def _merge(ends: Pair, costs: np.ndarray, scale: float, count: int) -> list[int]:
    """Join segments along edges in ascending order of cost; return each pixel's parent.

    Where an edge does not join two segments, one of them has reached its limit, and costs only
    rise: edges of such segments are dropped with those inside a segment.
    """
    parent, size, limit = list(range(count)), [1] * count, [scale] * count
    for part in _parts(len(costs)):
        roots, limits = _roots(parent), np.array(limit)
        one, two, cost = roots[ends[0][part]], roots[ends[1][part]], costs[part]
        live = (one != two) & (np.minimum(limits[one], limits[two]) > cost[0])
        for a, b, price in zip(*(each[live].tolist() for each in (one, two, cost)), strict=True):
            a, b = _find(parent, a), _find(parent, b)
            if a != b and price < limit[a] and price < limit[b]:
                low, high = (a, b) if a < b else (b, a)
                parent[high] = low
                size[low] += size[high]
                limit[low] = price + scale / size[low]
    return parent


def _absorb(ends: Pair, parent: list[int], min_size: int) -> list[int]:
    """Join segments below min_size to neighbours, along edges in their order."""
    roots = _roots(parent)
    size = np.bincount(roots, minlength=len(parent))
    one, two = roots[ends[0]], roots[ends[1]]
    live = np.flatnonzero((one != two) & (np.minimum(size[one], size[two]) < min_size))
    low, high = np.minimum(one, two)[live], np.maximum(one, two)[live]
    # The first edge between two segments decides: later ones find them joined, or both large.
    firsts = np.sort(np.unique(low * len(parent) + high, return_index=True)[1])
    parent, size = roots.tolist(), size.tolist()
    for a, b in zip(low[firsts].tolist(), high[firsts].tolist(), strict=True):
        a, b = _find(parent, a), _find(parent, b)
        if a != b and (size[a] < min_size or size[b] < min_size):
            low_root, high_root = (a, b) if a < b else (b, a)
            parent[high_root] = low_root
            size[low_root] += size[high_root]
    return parent


def _parts(count: int) -> list[slice]:
    """Return slices that cover `count` edges, none empty."""
    bounds = np.unique(np.linspace(0, count, _PASSES + 1).astype(int)).tolist()
    return [slice(*pair) for pair in itertools.pairwise(bounds)]


def _find(parent: list[int], node: int) -> int:
    """Return the root of a node, and halve the path to it."""
    while parent[node] != node:
        parent[node] = node = parent[parent[node]]
    return node


def _roots(parent: list[int]) -> np.ndarray:
    """Return the root of every node."""
    roots = np.array(parent)
    while not np.array_equal(above := roots[roots], roots):
        roots = above
    return roots


def _recall(cache: str, key: str) -> np.ndarray | None:
    """Return a stored map, None where there is none that can be read."""
    if not cache:
        return _unpack(_kept[key]) if key in _kept else None
    with contextlib.suppress(OSError, ValueError, zlib.error):
        return _unpack(_file(cache, key).read_bytes())
    return None


def _store(cache: str, key: str, labels: np.ndarray, remember: int) -> None:
    """Store a map in the folder, or in memory where there is none and `remember` allows it."""
    if not cache:
        if len(_kept) < remember:
            _kept[key] = _pack(labels)
        return
    file = _file(cache, key)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{key}.{uuid.uuid4().hex}.part")  # several workers may store one map
    part.write_bytes(_pack(labels))
    part.replace(file)


def _file(cache: str, key: str) -> Path:
    return Path(cache) / key[:2] / key


def _pack(labels: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, labels, allow_pickle=False)
    return zlib.compress(data.getvalue(), 1)


def _unpack(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False)
