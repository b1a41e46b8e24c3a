"""Parallel decoding: the official numbers and choices, what stays, what steps and order give."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.generate.orders import confident, random
from maskmim.generate.parallel import (
    DecodingError,
    Noise,
    Rules,
    decode,
    decode_step,
    still_unknown,
)
from maskmim.masks import curves
from maskmim.types import Randomness
from tests.compiling import quick_jit
from tests.golden.maskgit import case
from tests.running import ROOT
from tests.tolerances import PARITY

GOLDEN = np.load(ROOT / "tests/golden/maskgit/values.npz")
UNKNOWN = case.CODES


@pytest.mark.proves(101, "as many tokens stay unknown after each step as officially")
def test_the_official_schedule():
    steps = np.arange(1, 33)
    places = (np.arange(33) + 1) / steps[:, None]
    taken = places <= 1
    for row, tokens in enumerate(case.TABLE_TOKENS):
        expected = np.maximum(1, np.minimum(tokens - 1, GOLDEN["counts"][row, 1:]))
        counts = still_unknown(tokens, tokens, jnp.float32(places), curves.cosine)
        np.testing.assert_array_equal(
            np.asarray(counts)[taken], expected[taken], f"{tokens} tokens"
        )


def test_the_official_curves():
    places = jnp.linspace(0.01, 0.99, 50)
    for name, keywords in {"power": {"exponent": 2.5}, "linear": {}, "cosine": {}}.items():
        values = getattr(curves, name)(places, **keywords)
        np.testing.assert_allclose(values, GOLDEN[f"curve_{name}"], atol=PARITY)
    for name in ("logarithm", "exponential"):
        values = getattr(curves, name)(places, tokens=256)
        np.testing.assert_allclose(values, GOLDEN[f"curve_{name}"], atol=PARITY)


@pytest.mark.proves(
    101, "given the same noise, every step guesses and keeps what the official one does"
)
def test_the_official_decoding():
    ids = jnp.asarray(case.sequences(UNKNOWN))
    unknown_at_start = jnp.sum(ids == UNKNOWN, axis=-1)
    rules = Rules(unknown_at_start, UNKNOWN, case.TEMPERATURE, curves.cosine, confident)
    for step in range(case.STEPS):
        noise = Noise(*map(jnp.asarray, case.noise(step)))
        logits = case.toy_logits(ids)
        guess, ids = decode_step(ids, logits, noise, jnp.int32(step), case.STEPS, rules)
        np.testing.assert_array_equal(guess, GOLDEN["decoded"][:, step], f"step {step}")


@cache
def decoder(steps, start):
    def run(ids):
        randomness = Randomness.of(jax.random.key(0), len(ids))
        return decode(case.toy_logits, ids, UNKNOWN, randomness, start, steps=steps)

    return quick_jit(run)


def run(ids, *, steps=6, start=0):
    return np.asarray(decoder(steps, start)(ids))


@pytest.mark.proves(101, "known tokens stay: a part of a picture can be painted anew")
def test_known_tokens_stay_and_all_others_are_filled_in():
    ids = case.sequences(UNKNOWN)
    for start in (0, 2):
        guesses = run(ids, start=start)
        assert guesses.shape == (6 - start, *ids.shape)
        assert (guesses < UNKNOWN).all()
        known = np.broadcast_to(ids != UNKNOWN, guesses.shape)
        np.testing.assert_array_equal(guesses[known], np.broadcast_to(ids, guesses.shape)[known])


def test_an_example_does_not_depend_on_the_others():
    ids = case.sequences(UNKNOWN)
    np.testing.assert_array_equal(run(ids)[:, :2], run(ids[:2]))
    other = run(np.stack([ids[0], ids[0]]))[-1]
    assert (other[0] != other[1]).any()


def test_what_is_wholly_known_is_left_alone():
    ids = np.arange(16, dtype=np.int32)[None] % case.CODES
    np.testing.assert_array_equal(run(ids), np.broadcast_to(ids, (6, 1, 16)))


def test_more_steps_than_tokens_are_no_harm():
    assert (run(case.sequences(UNKNOWN), steps=40)[-1] < UNKNOWN).all()


def test_steps_that_cannot_be_taken():
    with pytest.raises(DecodingError, match="start 6 of 6 steps"):
        run(case.sequences(UNKNOWN), start=6)


def mirror_oracle(ids):
    """True chances of pictures 4 x 4 of 5 colours whose right half mirrors the left one."""
    picture = ids.reshape(-1, 4, 4)
    partner = picture[:, :, ::-1].reshape(ids.shape)
    known = jax.nn.one_hot(partner, 5) * 60.0
    return jnp.where((partner < 5)[..., None], known, 0.0)


def samples(model, steps, order=confident, examples=256):
    """Pictures 4 x 4 of 5 colours from nothing, i32[examples, 16]."""
    ids = jnp.full((examples, 16), 5, jnp.int32)
    randomness = Randomness.of(jax.random.key(1), examples)
    choose = partial(decode, model, mask_id=5, steps=steps, order=order, temperature=1.0)
    return np.asarray(quick_jit(lambda ids: choose(ids=ids, randomness=randomness)[-1])(ids))


@pytest.mark.proves(101, "one step breaks long-range rules, more keep them, one a token always")
def test_steps_make_valid_pictures():
    """Even a perfect model is wrong where it guesses tokens that depend on each other at once."""
    shares = []
    for steps in (1, 4, 16):
        rows = samples(mirror_oracle, steps).reshape(-1, 4, 4)
        shares.append((rows == rows[:, :, ::-1]).all(axis=(1, 2)).mean())
    assert shares[0] < 0.01 < 0.05 < shares[1] < 0.5 and shares[2] == 1, shares


@pytest.mark.proves(101, "what looks unlikely is guessed again, which a random order does not do")
def test_confidence_sorts_out_bad_guesses():
    """A model that gives the right colour of each token 0.8, whatever it knows."""
    right = jnp.arange(16) % 5

    def model(ids):
        return jnp.broadcast_to(jnp.log(0.05 + 0.75 * jax.nn.one_hot(right, 5)), (*ids.shape, 5))

    sure, anyhow = (
        (samples(model, 8, order) == np.asarray(right)).mean() for order in (confident, random)
    )
    assert abs(anyhow - 0.8) < 0.03 and sure > 0.9, (sure, anyhow)
