"""Masks over several streams: Dirichlet shares, independent ratios, the same places."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import beta, chi2, kstest

from maskmim.mask_tools.statistics import coverage_chi_square
from maskmim.masks import modalities
from maskmim.masks.core import MaskError, split_counts
from maskmim.types import Context, Randomness
from tests.running import ROOT
from tests.tolerances import SIGNIFICANCE

pytestmark = pytest.mark.full

GOLDEN = ROOT / "tests/golden/masks"
MULTIMAE = (("rgb", (14, 14)), ("depth", (14, 14)), ("semseg", (14, 14)))
SMALL = (("video", (2, 3, 4)), ("audio", (5, 2)))
AUDIO_VISUAL = (("rgb", (8, 14, 14)), ("spectrogram", (62, 8)))


@functools.cache
def draw_masks(name, grids, count, *, ratio, **options):
    """Return the mask and the number of visible tokens of each stream i64[count, streams]."""
    sampler = getattr(modalities, name)
    context = Context({}, dict(grids), {})

    @jax.jit
    def run(key):
        return sampler(Randomness.of(key, count), context, ratio=ratio, **options)

    mask = run(jax.random.key(6))
    return mask, streams(mask, grids)


def streams(mask, grids):
    ends = np.cumsum([np.prod(grid) for _, grid in grids])[:-1]
    parts = np.split(~np.asarray(mask.hidden), ends, axis=1)
    return np.stack([part.sum(1) for part in parts], axis=1)


def check_split(mask, visible, length):
    seen, unseen = np.asarray(mask.visible), np.asarray(mask.predict)
    assert seen.shape[1] == visible
    together = np.sort(np.concatenate([seen, unseen], axis=1), axis=1)
    np.testing.assert_array_equal(together, np.broadcast_to(np.arange(length), together.shape))


@pytest.mark.proves(60, "98 tokens are visible in all, whatever the shares")
def test_dirichlet_shows_98_tokens():
    mask, seen = draw_masks("dirichlet", MULTIMAE, 4000, ratio=5 / 6)
    check_split(mask, 98, 3 * 196)
    assert (seen.sum(1) == 98).all()


@pytest.mark.proves(60, "shares are uniform on the simplex")
def test_dirichlet_shares_are_uniform_on_the_simplex():
    _, seen = draw_masks("dirichlet", MULTIMAE, 4000, ratio=5 / 6)
    noise = np.random.RandomState(0).uniform(-0.5, 0.5, seen.shape)
    shares = np.clip((seen + noise) / 98, 0, 1)
    for stream in range(3):
        # A share of three is Beta(1, 2), a smaller part of two of them uniform.
        assert kstest(shares[:, stream], beta(1, 2).cdf).pvalue > SIGNIFICANCE
    split = shares[:, 0] / shares[:, :2].sum(1)
    assert kstest(split[seen[:, 2] < 70], "uniform").pvalue > SIGNIFICANCE


@pytest.mark.proves(60, "a stream's visible tokens are a uniformly random subset")
def test_tokens_of_each_stream_are_visible_equally_often():
    mask, _ = draw_masks("dirichlet", MULTIMAE, 4000, ratio=5 / 6)
    part = ~np.asarray(mask.hidden)[:, :196]
    shown = part.mean(0)
    # Tokens of a stream are exchangeable: two of one example have the same share.
    spread = (part - part.mean(1, keepdims=True)).astype(np.float64)
    error = (spread**2).mean() / len(part)
    statistic = ((shown - shown.mean()) ** 2).sum() / error
    assert chi2.sf(statistic, 195) > SIGNIFICANCE
    assert shown.mean() == pytest.approx(1 / 6, abs=0.01)


@pytest.mark.proves(60, "equal to MultiMAE's generate_random_masks, given the same numbers")
@pytest.mark.parametrize(
    ("case", "lengths", "visible"), [("paper", (196,) * 3, 98), ("scarce", (16, 49, 25), 70)]
)
def test_masks_equal_multimaes(case, lengths, visible):
    """Recorded by tests/golden/masks/unit_record.py from the official generate_random_masks."""
    golden = np.load(GOLDEN / "unit_multimae.npz")
    shares, noise = (jnp.asarray(golden[f"{case}_{name}"]) for name in ("shares", "noise"))
    places = jnp.split(
        jnp.asarray(golden[f"{case}_places"], jnp.int32), np.cumsum(lengths)[:-1], axis=1
    )
    mask = modalities.masks_of_shares(shares, places, noise, visible=visible)
    expected = np.unpackbits(golden[f"{case}_hidden"], axis=1)[:, : sum(lengths)]
    np.testing.assert_array_equal(np.asarray(mask.hidden), expected)
    if case == "scarce":
        asked = np.round(golden["scarce_shares"] * visible)
        assert (asked > np.array(lengths)).any(), "no stream was short of tokens"


def test_no_stream_shows_more_than_it_has():
    # 27 of 24 + 10 tokens are visible: one stream fills up for the other.
    shares = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    places = [jnp.tile(jnp.arange(size), (3, 1)) for size in (24, 10)]
    noise = jax.random.uniform(jax.random.key(0), (3, 34))
    mask = modalities.masks_of_shares(shares, places, noise, visible=27)
    check_split(mask, 27, 34)
    seen = streams(mask, SMALL)
    np.testing.assert_array_equal(seen[:2], [[24, 3], [17, 10]])
    assert (seen[2] <= [24, 10]).all() and seen[2].sum() == 27


def test_a_larger_alpha_shares_more_evenly():
    _, even = draw_masks("dirichlet", MULTIMAE, 500, ratio=5 / 6, alpha=(40.0, 40.0, 20.0))
    np.testing.assert_allclose(even.mean(0) / 98, [0.4, 0.4, 0.2], atol=0.01)
    assert even.std(0).max() < 8


def test_dirichlet_of_one_stream_is_uniformly_random():
    mask, _ = draw_masks("dirichlet", (("tokens", (6, 7)),), 4000, ratio=0.75)
    check_split(mask, *(split_counts(42, 0.75)[0], 42))
    statistic, degrees = coverage_chi_square(~np.asarray(mask.hidden).reshape(-1, 6, 7))
    assert chi2.sf(statistic, degrees) > SIGNIFICANCE


@pytest.mark.proves(60, "with uniform tasks every subset is chosen equally often")
def test_every_subset_of_streams_is_equally_likely():
    mask, seen = draw_masks("dirichlet_subset", MULTIMAE, 4000, ratio=5 / 6)
    check_split(mask, 98, 3 * 196)
    # A stream alone shows all 98; a pair may round the share of one of its two to 0.
    alone = [(seen == 98 * np.eye(3)[stream]).all(1).mean() for stream in range(3)]
    np.testing.assert_allclose(alone, 1 / 7 + 2 / 7 * 0.005, atol=0.02)
    all_three = (seen > 0).all(1).mean()
    assert all_three == pytest.approx(1 / 7, abs=0.02)


@pytest.mark.parametrize("alpha", [0.0, -1.0, (1.0, 1.0)])
def test_an_alpha_that_fits_no_stream_is_an_error(alpha):
    with pytest.raises(MaskError, match="alpha"):
        draw_masks("dirichlet", MULTIMAE, 2, ratio=0.5, alpha=alpha)


@pytest.mark.proves(87, "static counts for each stream: 157 of 1568 tubelets, 149 of 496 patches")
def test_independent_streams_have_the_published_counts():
    grids, ratios = dict(AUDIO_VISUAL), {"spectrogram": 0.7}
    counts = modalities.stream_counts(grids, ratio=0.9, ratios=ratios)
    assert counts == {"rgb": (157, 1411), "spectrogram": (149, 347)}
    randomness = Randomness.of(jax.random.key(1), 4)
    mask = modalities.independent(randomness, Context({}, grids, {}), ratio=0.9, ratios=ratios)
    check_split(mask, 157 + 149, 1568 + 496)
    np.testing.assert_array_equal(streams(mask, AUDIO_VISUAL), [[157, 149]] * 4)


@pytest.mark.proves(87, "masks of different streams are independent")
def test_independent_streams_are_independent():
    mask, seen = draw_masks("independent", MULTIMAE[:2], 3000, ratio=0.75)
    assert (seen == 49).all()
    one, two = np.split(~np.asarray(mask.hidden), 2, axis=1)
    shared = (one & two).sum(1)
    assert shared.mean() == pytest.approx(49 / 4, abs=0.25)


def test_a_stream_may_be_shown_or_hidden_completely():
    counts = modalities.stream_counts(dict(SMALL), ratio=0.5, ratios={"video": 1, "audio": 0.0})
    assert counts == {"video": (0, 24), "audio": (10, 0)}


@pytest.mark.parametrize(
    ("ratio", "ratios", "says"),
    [
        (0.5, {"sound": 0.5}, "names .'sound'."),
        (0.5, {"video": 0, "audio": 0}, "0 hidden"),
        (0.5, {"video": 1, "audio": 1.0}, "0 tokens visible"),
        (1.0, {}, "mask ratio"),
        (0.5, {"audio": 0.01}, "mask ratio"),
    ],
)
def test_invalid_ratios_are_an_error(ratio, ratios, says):
    with pytest.raises(MaskError, match=says):
        modalities.stream_counts(dict(SMALL), ratio=ratio, ratios=ratios)


@pytest.mark.proves(86, "spatial_mask hides the same places in every group of channels")
def test_same_places_are_hidden_in_every_stream():
    mask, seen = draw_masks("same_places", MULTIMAE, 3000, ratio=0.75)
    one, two, three = np.split(np.asarray(mask.hidden), 3, axis=1)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, three)
    assert (seen == 49).all()
    check_split(mask, 147, 588)
    statistic, degrees = coverage_chi_square(~one.reshape(-1, 14, 14))
    assert chi2.sf(statistic, degrees) > SIGNIFICANCE


def test_the_same_places_of_different_grids_are_an_error():
    with pytest.raises(MaskError, match="equal grids"):
        draw_masks("same_places", SMALL, 2, ratio=0.5)


def test_shares_do_not_depend_on_how_a_batch_is_split():
    mask, _ = draw_masks("dirichlet_subset", MULTIMAE, 4000, ratio=5 / 6)
    context = Context({}, dict(MULTIMAE), {})

    @jax.jit
    def run(slots):
        randomness = Randomness(jax.random.key(6), slots)
        return modalities.dirichlet_subset(randomness, context, ratio=5 / 6)

    part = run(jnp.array([2, 0], jnp.uint32))
    np.testing.assert_array_equal(np.asarray(part.visible), np.asarray(mask.visible)[[2, 0]])
