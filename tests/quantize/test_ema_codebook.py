"""The averaged codebook: the official k-means, where codes begin, what parts of a batch give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.quantize.ema_codebook import CodebookError, averaged, offer_vectors
from maskmim.quantize.vector_quantize import l2_normalise, used_share
from maskmim.types import Randomness
from tests.golden.beit_v2 import case
from tests.tolerances import PARITY, REORDERED

pytestmark = pytest.mark.full

RANDOMNESS = Randomness.of(jax.random.key(0), 4)


def vectors_of(examples=4, tokens=6, width=3, seed=0):
    noise = np.random.default_rng(seed).normal(size=(examples, tokens, width))
    return l2_normalise(jnp.asarray(noise, jnp.float32))


def updated_by(book, extra, vectors, randomness=RANDOMNESS):
    codes = book.nearest(extra, vectors)
    return book.update(extra, book.count(extra, vectors, codes, randomness))


@pytest.mark.proves(113, "ten rounds of k-means give the official codes")
def test_k_means_equals_the_official_one():
    golden = np.load(case.GOLDEN)
    book = averaged(case.WIDTH, size=case.CLUSTERS, rounds=10)
    extra = book.init(jax.random.key(0))
    first = jnp.asarray(golden["kmeans_first"])
    extra |= {"codes": first, "filled": jnp.int32(case.CLUSTERS)}
    vectors, one = jnp.asarray(case.samples())[None], Randomness.of(jax.random.key(0), 1)
    step = jax.jit(lambda extra: updated_by(book, extra, vectors, one))
    for _ in range(10):
        extra = step(extra)
    assert np.abs(golden["kmeans_last"] - golden["kmeans_first"]).max() > 0.1
    np.testing.assert_allclose(extra["codes"], golden["kmeans_last"], atol=PARITY)
    assert int(extra["rounds"]) == 10
    np.testing.assert_array_less(np.abs(step(extra)["codes"] - extra["codes"]), 0.05)


def test_codes_begin_as_vectors_of_many_examples():
    """Ten codes from 4 examples that offer 2 vectors each: two steps, then k-means."""
    book = averaged(3, size=10, rounds=1, offered=2)
    extra, seen = book.init(jax.random.key(0)), []
    for number in range(2):
        vectors = vectors_of(seed=number)
        seen.append(vectors.reshape(-1, 3))
        extra = updated_by(book, extra, vectors)
        assert int(extra["filled"]) == min(8 * (number + 1), 10)
    near = np.abs(extra["codes"][:, None] - np.concatenate(seen)).max(-1).min(-1)
    np.testing.assert_array_less(near, 1e-6)
    assert len(np.unique(np.asarray(extra["codes"]), axis=0)) == 10
    assert int(extra["rounds"]) == 0
    assert int(updated_by(book, extra, vectors)["rounds"]) == 1


def test_each_example_offers_vectors_of_its_own_at_random():
    vectors = vectors_of()
    first = offer_vectors(vectors, RANDOMNESS, count=2, start=jnp.int32(1), size=12)
    assert not np.any(first[0]) and not np.any(first[9:])
    for example in range(4):
        near = np.abs(first[1 + 2 * example : 3 + 2 * example, None] - vectors[example]).max(-1)
        assert sorted((near == 0).sum(-1)) == [1, 1]
    other = Randomness.of(jax.random.key(1), 4)
    assert np.any(offer_vectors(vectors, other, count=2, start=jnp.int32(1), size=12) != first)


@pytest.mark.proves(113, "parts of a batch give the codebook of the whole batch")
@pytest.mark.parametrize("filled", [0, 10])
def test_parts_of_a_batch_add_up(filled):
    book = averaged(3, size=10, rounds=0, offered=2)
    extra = book.init(jax.random.key(0)) | {"filled": jnp.int32(filled)}
    vectors = vectors_of()
    parts = []
    for start in (0, 1):
        some, slots = vectors[start::2], RANDOMNESS.slots[start::2]
        randomness = RANDOMNESS._replace(slots=slots)
        parts.append(book.count(extra, some, book.nearest(extra, some), randomness))
    updated = book.update(extra, jax.tree.map(jnp.add, *parts))
    whole = updated_by(book, extra, vectors)
    for name, value in whole.items():
        np.testing.assert_allclose(updated[name], value, rtol=REORDERED, atol=1e-6, err_msg=name)


@pytest.mark.proves(113, "a code that no vector is nearest to stays where it is")
@pytest.mark.parametrize("rounds", [0, 1])
def test_unused_codes_stay(rounds):
    book = averaged(3, size=30, decay=0.5, rounds=rounds)
    extra = book.init(jax.random.key(0)) | {"filled": jnp.int32(30)}
    vectors = vectors_of()
    hit = np.unique(book.nearest(extra, vectors))
    after = updated_by(book, extra, vectors)["codes"]
    moved = np.abs(after - extra["codes"]).max(-1) > 1e-6
    np.testing.assert_array_equal(np.flatnonzero(moved), hit)
    np.testing.assert_allclose(np.linalg.norm(after, axis=-1), 1, rtol=1e-5)


@pytest.mark.proves(113, "k-means keeps codes of 20 clusters in use, random codes fall out of it")
def test_k_means_keeps_codes_in_use():
    """Vectors in 20 clusters of a narrow cone, as those of an untrained encoder are."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, 8)) * 0.3 + 2 * np.eye(8)[0]

    def batch(number):
        own = np.random.default_rng(number)
        chosen = centres[own.integers(0, 20, (16, 25))]
        noisy = chosen + 0.05 * own.normal(size=(16, 25, 8))
        return l2_normalise(jnp.asarray(noisy, jnp.float32))

    shares = {}
    for name, rounds in (("k-means", 10), ("random", 0)):
        book = averaged(8, size=40, decay=0.9, rounds=rounds, offered=3)
        step = jax.jit(
            lambda extra, v, book=book: updated_by(book, extra, v, Randomness.of(KEY, 16))
        )
        extra = book.init(jax.random.key(1))
        for number in range(40):
            extra = step(extra, batch(number))
        shares[name] = float(book.metrics(extra)["used"].value)
        perplexity = float(book.metrics(extra)["perplexity"].value)
        print(f"{name}: {shares[name]:.2f} of 40 codes used, perplexity {perplexity:.1f}")
        assert float(used_share(extra["counts"], least=1e-3)) == pytest.approx(shares[name])
    assert shares["k-means"] > 0.9
    assert shares["random"] < 0.5


KEY = jax.random.key(0)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"decay": 1.0}, {"rounds": -1}, {"offered": 0}])
def test_codebooks_that_cannot_be(wrong):
    with pytest.raises(CodebookError, match="no codebook has"):
        averaged(4, **wrong)
