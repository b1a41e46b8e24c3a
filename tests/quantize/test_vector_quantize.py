"""Nearest codes, the gradient past them, and how codes are used."""

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.quantize.vector_quantize import (
    code_counts,
    code_sums,
    l2_normalise,
    nearest,
    nearest_cosine,
    perplexity,
    straight_through,
    used_share,
)


def random_vectors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 5, 3)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32)


def test_nearest_codes_are_those_of_all_distances():
    vectors, codebook = random_vectors()
    distances = np.linalg.norm(vectors[..., None, :] - codebook, axis=-1)
    np.testing.assert_array_equal(nearest(vectors, codebook), distances.argmin(-1))
    lengths = np.linalg.norm(vectors, axis=-1)[..., None] * np.linalg.norm(codebook, axis=-1)
    cosines = vectors @ codebook.T / lengths
    np.testing.assert_array_equal(nearest_cosine(vectors, codebook), cosines.argmax(-1))
    assert (distances.argmin(-1) != cosines.argmax(-1)).any()


def test_the_first_of_equal_codes_is_taken():
    codebook = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], np.float32)
    assert int(nearest(codebook[2], codebook)) == int(nearest_cosine(codebook[2], codebook)) == 1


def test_the_gradient_passes_as_if_nothing_was_quantised():
    vectors, codebook = random_vectors()
    slope = np.random.default_rng(1).normal(size=vectors.shape).astype(np.float32)

    def value(vectors, codebook):
        quantised = codebook[nearest(vectors, codebook)]
        return jnp.sum(slope * straight_through(vectors, quantised))

    of_vectors, of_codes = jax.grad(value, argnums=(0, 1))(vectors, codebook)
    np.testing.assert_allclose(of_vectors, slope, rtol=1e-6)
    assert not np.any(of_codes)
    quantised = codebook[nearest(vectors, codebook)]
    np.testing.assert_allclose(straight_through(vectors, quantised), quantised, atol=1e-6)


def test_counts_and_sums_of_codes():
    vectors, codebook = random_vectors()
    codes = nearest(vectors, codebook)
    flat = np.asarray(codes).reshape(-1)
    np.testing.assert_array_equal(code_counts(codes, 7), np.bincount(flat, minlength=7))
    expected = np.zeros((7, 3))
    np.add.at(expected, flat, vectors.reshape(-1, 3))
    np.testing.assert_allclose(code_sums(vectors, codes, 7), expected, rtol=1e-5, atol=1e-6)


def test_perplexity_counts_equally_frequent_codes():
    counts = jnp.array([[3.0, 3, 3, 3], [5, 0, 0, 0], [2, 2, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(perplexity(counts), [4, 1, 2, 1], rtol=1e-6)
    np.testing.assert_allclose(used_share(counts), [1, 0.25, 0.5, 0])
    assert float(used_share(counts[0], least=3.0)) == 0


def test_unit_vectors_and_their_gradient_at_zero():
    vectors = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(l2_normalise(vectors), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda v: jnp.sum(l2_normalise(v)))(vectors)).all()
