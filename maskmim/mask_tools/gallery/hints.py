"""Hints for informed samplers without any teacher: simple facts of the gallery's photograph.

Each function makes one hint from a scene, for one example. They stand for what a teacher would
find: contrast for attention, variance for loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from maskmim.mask_tools.gallery.scene import Scene, plane
from maskmim.teachers import noise_bank
from maskmim.types import Array

MISSING = 0.2
CLUSTERS = 6
QUERIES = 32
FEATURE_PIXELS = 16
PLACE_WEIGHT, ROUNDS = 0.6, 20
BANK_PATTERNS, BANK_VALUES = 512, 2**22  # At most, so that long grids stay cheap.


def variance(scene: Scene) -> np.ndarray:
    """Variance of each patch's pixels: f32[N]."""
    return scene.patches.var(axis=(1, 2))


def log_variance(scene: Scene) -> np.ndarray:
    """Logarithm of each patch's variance: f32[N]."""
    return np.log(variance(scene) + 1e-4)


def contrast(scene: Scene) -> np.ndarray:
    """How far each patch's colour is from that of the frame, as shares of a sum of 1: f32[N]."""
    colours = scene.patches.mean(1)
    energy = ((colours - colours.mean(0)) ** 2).sum(-1) + variance(scene)
    return energy / energy.sum()


def features(scene: Scene) -> np.ndarray:
    """A few pixels of each patch, mean 0 and variance 1: f32[N, D]."""
    places = np.linspace(0, scene.patches.shape[1] - 1, FEATURE_PIXELS).round().astype(int)
    flat = scene.patches[:, places].reshape(len(scene.patches), -1)
    return (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-6)


def token_attention(scene: Scene) -> np.ndarray:
    """Softmax over tokens of the likeness in colour to a few evenly spread queries: f32[Q, N]."""
    colours = scene.patches.mean(1)
    places = np.linspace(0, len(colours) - 1, min(QUERIES, len(colours))).round().astype(int)
    away = ((colours[places, None] - colours[None]) ** 2).sum(-1)
    weights = np.exp(-away / 0.02)
    return weights / weights.sum(1, keepdims=True)


def motion(scene: Scene) -> np.ndarray:
    """Mean difference of each patch to the frame before (the first: after): f32[N]."""
    if len(scene.frames) == 1:
        return np.zeros(len(scene.patches), np.float32)
    steps = np.abs(np.diff(scene.frames, axis=0))
    moved = scene._replace(frames=np.concatenate([steps[:1], steps]))
    return moved.patches.mean((1, 2))


def flow(scene: Scene) -> np.ndarray:
    """The camera's known displacement: f32[T, h, w, 2] tokens."""
    return scene.flow


def labels(scene: Scene) -> np.ndarray:
    """k-means clusters of the patches' colours and places: i32[N].

    0 is the cluster nearest to the mean colour, the ground, and 1 the one furthest from it, the
    object.
    """
    colours = scene.patches.mean(1)
    points = np.concatenate([colours, PLACE_WEIGHT * _places(scene)], axis=1)
    nearest = _clustered(points, min(CLUSTERS, len(points)))
    away = ((colours - colours.mean(0)) ** 2).sum(-1)
    found = np.unique(nearest)
    order = found[np.argsort([away[nearest == cluster].mean() for cluster in found])]
    renumbered = np.concatenate([order[:1], order[:0:-1]])
    return (nearest[:, None] == renumbered).argmax(1).astype(np.int32)


def _places(scene: Scene) -> np.ndarray:
    """Where each token is, in [0, 1] along rows and columns: f32[N, 2]."""
    grid = plane(scene.grid)
    return np.indices(grid).reshape(3, -1)[1:].T / np.array(grid[1:], np.float32)


def _clustered(points: np.ndarray, count: int) -> np.ndarray:
    """The nearest of `count` centres for each of the points [N, D], by Lloyd's algorithm: [N]."""
    order = np.argsort(points.sum(1), kind="stable")
    centres = points[order[np.linspace(0, len(order) - 1, count).round().astype(int)]]
    for _ in range(ROUNDS):
        nearest = ((points[:, None] - centres[None]) ** 2).sum(-1).argmin(1)
        for cluster in np.unique(nearest):
            centres[cluster] = points[nearest == cluster].mean(0)
    return nearest


def members(scene: Scene) -> np.ndarray:
    """Regions that overlap: the clusters of `labels`, each grown by a token: bool[N, R]."""
    time, rows, columns = plane(scene.grid)
    each = labels(scene)[:, None] == np.arange(CLUSTERS)
    framed = np.pad(each.reshape(time, rows, columns, -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    grown = framed[:, 1:-1, 1:-1] | framed[:, :-2, 1:-1] | framed[:, 2:, 1:-1]
    grown |= framed[:, 1:-1, :-2] | framed[:, 1:-1, 2:]
    return grown.reshape(len(each), -1)


def region(scene: Scene) -> np.ndarray:
    """The half of the tokens with the largest contrast, rounded: bool[N]."""
    energy = contrast(scene)
    return energy.argsort().argsort() >= len(energy) // 2


def missing(scene: Scene) -> np.ndarray:
    """A random fifth of the tokens, rounded, is missing: bool[N]."""
    count = len(scene.patches)
    return np.random.default_rng(0).permutation(count) < round(MISSING * count)


def bank(scene: Scene) -> Array:
    """Green noise patterns twice as long as the grid: f32[patterns, M, M], for all examples."""
    size = 2 * max(scene.grid)
    count = max(1, min(BANK_PATTERNS, BANK_VALUES // size**2))
    return noise_bank.generated(count=count, size=size).freeze()["bank"]


# Hints that hold for one example, and those that all examples share as they are.
OF_AN_EXAMPLE: Mapping[str, Callable[[Scene], np.ndarray]] = {
    "attention": contrast,
    "features": features,
    "flow": flow,
    "importance": variance,
    "labels": labels,
    "logits": log_variance,
    "members": members,
    "missing": missing,
    "motion": motion,
    "region": region,
    "token_attention": token_attention,
    "token_loss": variance,
}
SHARED: Mapping[str, Callable[[Scene], Array]] = {"noise_bank": bank}
KNOWN = frozenset(OF_AN_EXAMPLE) | frozenset(SHARED)


def hint_of(scene: Scene, name: str) -> Array:
    """A known hint of a scene; one of an example has a leading axis of 1."""
    if name in SHARED:
        return SHARED[name](scene)
    return jnp.asarray(OF_AN_EXAMPLE[name](scene))[None]


def spread(hints: Mapping[str, Array], count: int) -> dict[str, Array]:
    """Hints by name, of `hint_of`, for a batch of `count` equal examples."""
    return {
        name: value if name in SHARED else jnp.broadcast_to(value, (count, *value.shape[1:]))
        for name, value in hints.items()
    }
