"""Masks from clusters: the cut against a full eigen-decomposition, squares hidden by texture."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import SpectralClustering

from maskmim.masks import clusters, uniform
from maskmim.masks.core import MaskError
from maskmim.types import Context, Randomness

GRID = (14, 14)


def oracle_side(features: np.ndarray) -> np.ndarray:
    """Return the object's side bool[N] by numpy.linalg.eigh of the whole graph in f64."""
    unit = features.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    graph = (1 + unit @ unit.T) / 2
    roots = np.sqrt(graph.sum(1))
    vectors = np.linalg.eigh(np.eye(len(unit)) - graph / roots[:, None] / roots)[1]
    vector = vectors[:, 1] / roots
    vector *= np.sign(vector[abs(vector).argmax()])
    return vector >= vector.mean()


@jax.jit
def sides(features):
    side = lambda rows: clusters.object_side(clusters.fiedler(clusters.unit_features(rows)))  # noqa: E731
    return jax.vmap(side)(features)


def two_groups(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make features f32[count, 60, 24] of two noisy directions, and mark those of the first."""
    random = np.random.default_rng(seed)
    inside = random.random((count, 60)) < random.uniform(0.15, 0.4, (count, 1))
    means = random.standard_normal((2, count, 1, 24))
    features = np.where(inside[..., None], means[0], means[1])
    features = features + noise * random.standard_normal((count, 60, 24))
    return features.astype(np.float32), inside


@pytest.mark.proves(2, "the cut in two equals that of numpy.linalg.eigh")
@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_the_cut_is_that_of_a_full_decomposition(noise):
    features, inside = two_groups(8, noise)
    cut = np.asarray(sides(jnp.asarray(features)))
    np.testing.assert_array_equal(cut, [oracle_side(rows) for rows in features])
    if noise < 1:
        np.testing.assert_array_equal(cut, inside)


@pytest.mark.proves(2, "the cut in two is that of scikit-learn's SpectralClustering")
def test_the_cut_is_that_of_spectral_clustering():
    """Of two clear groups; its k-means may put a token between two groups to the other one."""
    features, _ = two_groups(8, 0.3, seed=1)
    for cut, rows in zip(np.asarray(sides(jnp.asarray(features))), features, strict=True):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        clustering = SpectralClustering(2, affinity="precomputed", random_state=0)
        labels = clustering.fit_predict((1 + unit @ unit.T) / 2)
        np.testing.assert_array_equal(cut, labels == labels[np.argmax(cut)])


def test_the_side_does_not_depend_on_the_sign():
    vector = jnp.asarray(np.random.RandomState(0).randn(40) + 0.1)
    side = clusters.object_side(vector)
    np.testing.assert_array_equal(clusters.object_side(-vector), side)
    assert side[jnp.argmax(abs(vector))]


@functools.partial(jax.jit, static_argnames=("ratio", "hints", "grid"))
def hide(features, ratio, hints=0.05, grid=GRID, seed=0):
    randomness = Randomness.of(jax.random.key(seed), len(features))
    context = Context({}, {"tokens": grid}, {"features": features})
    return clusters.self_guided(randomness, context, ratio=ratio, hints=hints).hidden


def textured_squares(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Make pictures [count, 112, 112] with a square of vertical stripes on horizontal ones.

    Returns them and the tokens bool[count, 196] that the square covers.
    """
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:112, :112]
    pictures, covered = np.empty((count, 112, 112)), np.zeros((count, 14, 14), bool)
    for each in range(count):
        corner = random.integers(0, 6, 2)
        covered[each, corner[0] : corner[0] + 9, corner[1] : corner[1] + 9] = True
        inside = np.kron(covered[each], np.ones((8, 8), bool))
        phases = random.uniform(0, 6, 2)
        stripes = np.sin(columns * 1.9 + phases[0]), np.sin(rows * 1.1 + phases[1])
        pictures[each] = np.where(inside, *stripes) + 0.5 * random.standard_normal((112, 112))
    return pictures, covered.reshape(count, -1)


def patch_spectra(pictures: np.ndarray) -> np.ndarray:
    """Return simple features f32[B, 196, 64]: amplitudes of each patch's Fourier transform."""
    patches = pictures.reshape(-1, 14, 8, 14, 8).swapaxes(2, 3)
    amplitudes = abs(np.fft.fft2(patches - patches.mean((-1, -2), keepdims=True)))
    return amplitudes.reshape(len(pictures), 196, 64).astype(np.float32)


def overlap(hidden: np.ndarray, covered: np.ndarray) -> float:
    return float(((hidden & covered).sum(1) / (hidden | covered).sum(1)).mean())


@pytest.mark.proves(
    2, "hides a textured square: IoU well above random, near random without features"
)
@pytest.mark.parametrize(("ratio", "least"), [(0.4, 0.85), (0.75, 0.5)])
def test_a_textured_square_is_hidden(ratio, least):
    pictures, covered = textured_squares(16)
    guided = overlap(np.asarray(hide(jnp.asarray(patch_spectra(pictures)), ratio)), covered)
    context = Context({}, {"tokens": GRID}, {})
    by_chance = uniform.random(Randomness.of(jax.random.key(0), 16), context, ratio=ratio)
    chance = overlap(np.asarray(by_chance.hidden), covered)
    noise = np.random.RandomState(0).randn(16, 196, 64).astype(np.float32)
    untrained = overlap(np.asarray(hide(jnp.asarray(noise), ratio)), covered)
    assert guided > least and guided > chance + 0.12
    assert untrained == pytest.approx(chance, abs=0.05)


def test_a_share_of_the_object_stays_visible_at_random():
    features, inside = two_groups(64, 0.3)
    features, inside = np.tile(features[:1], (64, 1, 1)), inside[0]
    options = {"ratio": 0.75, "hints": 0.3, "grid": (60,)}
    hidden = np.asarray(hide(jnp.asarray(features), **options))
    shown = ~hidden[:, inside]
    assert (shown.sum(1) == round(0.3 * inside.sum())).all()
    assert (shown.any(0)).all() and len(np.unique(shown, axis=0)) > 50
    everything = np.asarray(hide(jnp.asarray(features), ratio=0.75, hints=0.0, grid=(60,)))
    assert everything[:, inside].all() and len(np.unique(everything, axis=0)) == 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_features_without_differences_still_give_a_mask(value):
    hidden = np.asarray(hide(jnp.full((2, 196, 5), value), 0.75))
    np.testing.assert_array_equal(hidden.sum(1), 147)


def test_memory_grows_with_tokens_not_with_pairs_of_them():
    features = jax.ShapeDtypeStruct((1, 2048, 8), jnp.float32)
    compiled = sides.lower(features).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2048 * 2048


@pytest.mark.parametrize("hints", [-0.1, 1.1])
def test_a_share_of_hints_is_between_none_and_all(hints):
    with pytest.raises(MaskError, match="from 0 to 1"):
        hide(jnp.ones((2, 196, 4)), 0.5, hints=hints)


def test_features_of_networks_in_bfloat16_are_cut():
    features, _ = two_groups(2, 0.3, seed=1)
    grids, randomness = {"image": (4, features.shape[1] // 4)}, Randomness.of(jax.random.key(0), 2)
    exact, rounded = (
        clusters.self_guided(
            randomness, Context({}, grids, {"features": jnp.asarray(features, dtype)}), ratio=0.5
        ).hidden
        for dtype in ("float32", "bfloat16")
    )
    assert exact.shape == rounded.shape and np.mean(exact == rounded) > 0.9
