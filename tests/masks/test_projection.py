"""Projections of tokens: true projectors for any number of tokens; the official operator."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from maskmim.masks import projection, uniform
from maskmim.masks.core import MaskError
from maskmim.masks.projection import Projection
from maskmim.types import Context, Randomness
from tests.running import ROOT
from tests.tolerances import PARITY, REORDERED, SIGNIFICANCE

pytestmark = pytest.mark.full


def context_of(length: int) -> Context:
    return Context({}, {"tokens": (length,)}, {})


@functools.cache
def draw_projections(length: int, size: int, count: int, seed: int = 0):
    """Draw projections of `count` examples and their operators f64[count, length, length]."""

    @jax.jit
    def draw(randomness):
        drawn_projection = projection.draw(randomness, context_of(length), size=size)
        unit = jnp.broadcast_to(jnp.eye(length), (count, length, length))
        return drawn_projection, projection.project(drawn_projection, unit)

    drawn_projection, operators = draw(Randomness.of(jax.random.key(seed), count))
    return drawn_projection, np.asarray(operators, np.float64)


CASES = [(196, 7), (50, 7), (9, 9)]


@pytest.mark.proves(121, "symmetric, P P = P, rank 28, diagonal 1/7, +-1/7 within a bucket only")
@pytest.mark.parametrize(("length", "size"), CASES)
def test_operators_are_orthogonal_projectors(length, size):
    _, operators = draw_projections(length, size, 3)
    buckets = math.ceil(length / size)
    assert buckets == 28 or length != 196
    for operator in operators:
        np.testing.assert_allclose(operator, operator.T, atol=REORDERED)
        np.testing.assert_allclose(operator @ operator, operator, atol=REORDERED)
        assert np.linalg.matrix_rank(operator, tol=1e-3) == buckets
        together = abs(operator) > 0
        sizes = together.sum(1)
        assert sizes.max() - sizes.min() <= 1 and sizes.max() == -(-length // buckets)
        np.testing.assert_allclose(abs(operator)[together], np.repeat(1 / sizes, sizes), rtol=1e-6)
        np.testing.assert_array_equal(together @ together > 0, together)
        eigenvalues = np.linalg.eigvalsh(operator)
        np.testing.assert_allclose(eigenvalues, np.arange(length) >= length - buckets, atol=PARITY)


@pytest.mark.proves(121, "the mean over draws is rho I but for -rho / (N - 1) of the meetings")
def test_the_mean_over_draws_is_a_multiple_of_the_identity():
    count = 4000
    projections, operators = draw_projections(28, 7, count)
    np.testing.assert_allclose(operators[:, np.arange(28), np.arange(28)], 1 / 7, rtol=1e-6)
    runs = np.arange(28) // 4
    apart = runs[:, None] != runs
    assert not operators[:, ~apart & ~np.eye(28, dtype=bool)].any()
    # Tokens of two runs meet in one of 4 buckets; balanced signs agree with chance 13 / 27.
    expected, deviation = -1 / 27 / 4 / 7, 0.5 / 7
    bound = norm.isf(SIGNIFICANCE / apart.sum()) * deviation / count**0.5
    assert abs(operators.mean(0)[apart] - expected).max() < bound
    np.testing.assert_array_equal(np.asarray(projections.signs).sum(1), 0)


@pytest.mark.proves(121, "equals the official operator for its buckets and signs")
def test_the_official_operator():
    """region_ropim.npz: see tests/golden/masks/region_record.py."""
    golden = ROOT / "tests/golden/masks/region_ropim.npz"
    with np.load(golden) as stored:
        buckets, signs, operator = stored["buckets"], stored["signs"], stored["operator"]
    places = np.arange(196) // 28 * 28 + buckets
    slots = np.argsort(places).reshape(7, 28)
    parts = (slots, places, signs.astype(np.float32), np.full(28, 0.14, np.float32))
    official = Projection(*(jnp.asarray(part)[None] for part in parts))
    unit = jnp.eye(196)[None]
    np.testing.assert_allclose(projection.project(official, unit)[0], operator, atol=1e-7)
    assert np.linalg.eigvalsh(operator.astype(np.float64))[-28:] == pytest.approx(0.98, abs=1e-5)
    exact = official._replace(factors=official.factors / 0.98)
    np.testing.assert_allclose(projection.project(exact, unit)[0] * 0.98, operator, atol=1e-7)
    drawn = projection.draw(Randomness.of(jax.random.key(0), 2), context_of(196), factor=0.14)
    np.testing.assert_array_equal(drawn.factors, np.full((2, 28), 0.14, np.float32))
    # Our draws have the structure of the official ones: each run of 28 fills all buckets.
    places_drawn = np.asarray(draw_projections(196, 7, 3)[0].places) % 28
    for each in (buckets[None], places_drawn):
        runs = np.sort(each.reshape(-1, 7, 28), axis=-1)
        np.testing.assert_array_equal(runs, np.broadcast_to(np.arange(28), runs.shape))


@pytest.mark.proves(121, "a binary mask is the special case of a diagonal operator")
def test_a_mask_is_a_projection():
    mask = uniform.random(Randomness.of(jax.random.key(0), 3), context_of(20), ratio=0.7)
    unit = jnp.broadcast_to(jnp.eye(20), (3, 20, 20))
    operator = jax.jit(lambda mask: projection.project(projection.of_mask(mask), unit))(mask)
    np.testing.assert_array_equal(operator, ~np.asarray(mask.hidden)[..., None] * np.eye(20))


def test_the_complement_is_what_is_removed():
    projections, operators = draw_projections(50, 7, 3)
    tokens = jax.random.normal(jax.random.key(1), (3, 50, 4))
    expected = (np.eye(50) - operators) @ np.asarray(tokens, np.float64)
    np.testing.assert_allclose(projection.complement(projections, tokens), expected, atol=1e-5)
    again = projection.project(projections, projection.complement(projections, tokens))
    np.testing.assert_allclose(again, 0, atol=1e-5)


def test_gradients_are_projected_too():
    projections, _ = draw_projections(50, 7, 3)
    tokens, back = jax.random.normal(jax.random.key(1), (2, 3, 50, 4))
    _, pull = jax.vjp(functools.partial(projection.project, projections), tokens)
    expected = projection.project(projections, back)
    np.testing.assert_allclose(pull(back)[0], expected, atol=1e-6)


def test_draws_are_each_examples_own_or_the_whole_batchs():
    @functools.partial(jax.jit, static_argnames="one")
    def places(randomness, one):
        draw = projection.draw_shared if one else projection.draw
        return draw(randomness, context_of(50))

    whole = places(Randomness.of(jax.random.key(0), 4), one=False)
    slots = jnp.array([2, 0, 1, 3], jnp.uint32)
    other = places(Randomness(jax.random.key(0), slots), one=False)
    shared = places(Randomness.of(jax.random.key(0), 4), one=True)
    assert len(np.unique(np.asarray(whole.places), axis=0)) == 4
    for part, turned, same in zip(whole, other, shared, strict=True):
        np.testing.assert_array_equal(turned, np.asarray(part)[np.asarray(slots)])
        assert same.shape == part.shape and len(np.unique(np.asarray(same), axis=0)) == 1


def test_no_operator_is_formed():
    length = 4096
    projections = jax.eval_shape(
        lambda: projection.draw(Randomness.of(jax.random.key(0), 1), context_of(length))
    )
    tokens = jax.ShapeDtypeStruct((1, length, 8), jnp.float32)
    compiled = jax.jit(projection.project).lower(projections, tokens).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < length * length / 4


@pytest.mark.parametrize("size", [1, 51])
def test_a_bucket_holds_at_least_two_tokens_and_at_most_all(size):
    with pytest.raises(MaskError, match="from 2 tokens to all 50"):
        projection.draw(Randomness.of(jax.random.key(0), 2), context_of(50), size=size)
