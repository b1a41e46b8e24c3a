"""Hints for informed samplers, computed from the gallery's photograph instead of by a teacher.

Each function computes one hint of one example from a scene. It replaces what a teacher would give:
contrast replaces attention, variance replaces the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from maskmim.mask_tools.gallery.scene import Scene, with_three_axes
from maskmim.teachers import noise_bank
from maskmim.types import Array

MISSING = 0.2
PADDING = 0.25
CLUSTERS = 6
QUERIES = 32
FEATURE_PIXELS = 16
POSITION_WEIGHT, ROUNDS = 0.6, 20
BANK_PATTERNS, BANK_VALUES = 512, 2**22  # Upper limits, so that long grids stay cheap.


def variance(scene: Scene) -> np.ndarray:
    """Return the variance of each patch's pixels: f32[N]."""
    return scene.patches.var(axis=(1, 2))


def log_variance(scene: Scene) -> np.ndarray:
    """Return the logarithm of each patch's variance: f32[N]."""
    return np.log(variance(scene) + 1e-4)


def contrast(scene: Scene) -> np.ndarray:
    """Return each patch's distance to the mean colour, as shares that sum to 1: f32[N]."""
    colours = scene.patches.mean(1)
    energy = ((colours - colours.mean(0)) ** 2).sum(-1) + variance(scene)
    return energy / energy.sum()


def features(scene: Scene) -> np.ndarray:
    """Return a few pixels of each patch, mean 0 and variance 1: f32[N, D]."""
    pixels = np.linspace(0, scene.patches.shape[1] - 1, FEATURE_PIXELS).round().astype(int)
    flat = scene.patches[:, pixels].reshape(len(scene.patches), -1)
    return (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-6)


def token_attention(scene: Scene) -> np.ndarray:
    """Return the softmax over tokens of their colour's likeness to a few queries: f32[Q, N].

    Queries are evenly spread tokens.
    """
    colours = scene.patches.mean(1)
    queries = np.linspace(0, len(colours) - 1, min(QUERIES, len(colours))).round().astype(int)
    distances = ((colours[queries, None] - colours[None]) ** 2).sum(-1)
    weights = np.exp(-distances / 0.02)
    return weights / weights.sum(1, keepdims=True)


def motion(scene: Scene) -> np.ndarray:
    """Return each patch's mean difference to the frame before (the first: after): f32[N]."""
    if len(scene.frames) == 1:
        return np.zeros(len(scene.patches), np.float32)
    steps = np.abs(np.diff(scene.frames, axis=0))
    differences = scene._replace(frames=np.concatenate([steps[:1], steps]))
    return differences.patches.mean((1, 2))


def flow(scene: Scene) -> np.ndarray:
    """Return the camera's known displacement: f32[T, h, w, 2] tokens."""
    return scene.flow


def labels(scene: Scene) -> np.ndarray:
    """Return k-means clusters of the patches' colours and positions: i32[N].

    0 is the cluster nearest to the mean colour, the ground; 1 is the furthest from it, the object.
    """
    colours = scene.patches.mean(1)
    points = np.concatenate([colours, POSITION_WEIGHT * _positions(scene)], axis=1)
    nearest = _nearest_centres(points, min(CLUSTERS, len(points)))
    distances = ((colours - colours.mean(0)) ** 2).sum(-1)
    clusters = np.unique(nearest)
    order = clusters[np.argsort([distances[nearest == cluster].mean() for cluster in clusters])]
    renumbered = np.concatenate([order[:1], order[:0:-1]])
    return (nearest[:, None] == renumbered).argmax(1).astype(np.int32)


def _positions(scene: Scene) -> np.ndarray:
    """Return the position of each token, in [0, 1] along rows and columns: f32[N, 2]."""
    grid = with_three_axes(scene.grid)
    return np.indices(grid).reshape(3, -1)[1:].T / np.array(grid[1:], np.float32)


def _nearest_centres(points: np.ndarray, count: int) -> np.ndarray:
    """Return the nearest of `count` centres of points [N, D] by Lloyd's algorithm: [N]."""
    order = np.argsort(points.sum(1), kind="stable")
    centres = points[order[np.linspace(0, len(order) - 1, count).round().astype(int)]]
    for _ in range(ROUNDS):
        nearest = ((points[:, None] - centres[None]) ** 2).sum(-1).argmin(1)
        for cluster in np.unique(nearest):
            centres[cluster] = points[nearest == cluster].mean(0)
    return nearest


def members(scene: Scene) -> np.ndarray:
    """Return overlapping regions, the clusters of `labels` each grown by a token: bool[N, R]."""
    time, rows, columns = with_three_axes(scene.grid)
    clusters = labels(scene)[:, None] == np.arange(CLUSTERS)
    padded = np.pad(clusters.reshape(time, rows, columns, -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    grown = padded[:, 1:-1, 1:-1] | padded[:, :-2, 1:-1] | padded[:, 2:, 1:-1]
    grown |= padded[:, 1:-1, :-2] | padded[:, 1:-1, 2:]
    return grown.reshape(len(clusters), -1)


def region(scene: Scene) -> np.ndarray:
    """Return the half of the tokens with the largest contrast, rounded: bool[N]."""
    energy = contrast(scene)
    return energy.argsort().argsort() >= len(energy) // 2


def missing(scene: Scene) -> np.ndarray:
    """Return a random fifth of the tokens, rounded, as missing: bool[N]."""
    count = len(scene.patches)
    return np.random.default_rng(0).permutation(count) < round(MISSING * count)


def padding(scene: Scene) -> np.ndarray:
    """Return the last quarter of the tokens, rounded, as padding: bool[N]."""
    count = len(scene.patches)
    return np.arange(count) >= count - round(PADDING * count)


def bank(scene: Scene) -> Array:
    """Return green noise patterns twice as long as the grid: f32[patterns, M, M]."""
    size = 2 * max(scene.grid)
    count = max(1, min(BANK_PATTERNS, BANK_VALUES // size**2))
    return noise_bank.generated(count=count, size=size).freeze()["bank"]


# Hints of one example, and hints that all examples share.
PER_EXAMPLE: Mapping[str, Callable[[Scene], np.ndarray]] = {
    "attention": contrast,
    "features": features,
    "flow": flow,
    "importance": variance,
    "labels": labels,
    "logits": log_variance,
    "members": members,
    "missing": missing,
    "motion": motion,
    "padding": padding,
    "region": region,
    "token_attention": token_attention,
    "token_loss": variance,
}
SHARED: Mapping[str, Callable[[Scene], Array]] = {"noise_bank": bank}
KNOWN = frozenset(PER_EXAMPLE) | frozenset(SHARED)


def compute_hint(scene: Scene, name: str) -> Array:
    """Compute a known hint of a scene; a hint of one example has a leading axis of 1."""
    if name in SHARED:
        return SHARED[name](scene)
    return jnp.asarray(PER_EXAMPLE[name](scene))[None]


def repeat_hints(hints: Mapping[str, Array], count: int) -> dict[str, Array]:
    """Repeat the hints of `compute_hint` for a batch of `count` equal examples."""
    return {
        name: value if name in SHARED else jnp.broadcast_to(value, (count, *value.shape[1:]))
        for name, value in hints.items()
    }
