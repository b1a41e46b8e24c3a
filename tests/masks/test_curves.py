"""The curves of masked generation against the official table; laws and growths of the ratio."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from maskmim.masks import curves, growth, ratio
from maskmim.masks.core import MaskError
from tests.running import ROOT
from tests.tolerances import SIGNIFICANCE

GOLDEN = ROOT / "tests/golden/masks/maskgit_schedule.npz"
DRAWS = 4000


@pytest.mark.proves(101, "the mask schedules equal the official function at all steps")
@pytest.mark.parametrize("name", ["linear", "power", "cosine", "logarithm", "exponential"])
def test_curves_equal_the_official_schedule(name):
    """The table: schedule((t + 1) / T, 256, method) of google-research/maskgit at 1db2359,
    libml/mask_schedule.py, for T = 1..16 rows and t = 0..15 columns; methods uniform, pow3,
    cosine, log and exp."""
    with np.load(GOLDEN, allow_pickle=False) as golden:
        table = golden[name]
    steps, done = np.indices(table.shape) + 1
    known = ~np.isnan(table)
    ours = getattr(curves, name)(jnp.asarray(done / steps, jnp.float32))
    # The official ratio is at least 1e-6, ours reaches 0.
    np.testing.assert_allclose(np.asarray(ours)[known], table[known], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    "curve", [getattr(curves, n) for n in ("linear", "cosine", "power", "arccosine")]
)
def test_a_curve_falls_from_one_to_zero(curve):
    values = np.asarray(curve(jnp.linspace(0, 1, 50)))
    np.testing.assert_allclose(values[[0, -1]], [1, 0], atol=1e-6)
    assert (np.diff(values) < 0).all()


def draws(law, progress=0.0):
    keys = jax.random.split(jax.random.key(0), DRAWS)
    return np.asarray(jax.vmap(lambda key: law(key, progress))(keys))


@pytest.mark.proves(41, "the mask ratio follows a truncated normal distribution")
def test_truncated_normal_is_mages_law():
    law = stats.truncnorm((0.5 - 0.55) / 0.25, (1 - 0.55) / 0.25, loc=0.55, scale=0.25)
    assert stats.kstest(draws(ratio.truncated_normal), law.cdf).pvalue > SIGNIFICANCE


@pytest.mark.proves(94, "the mask ratio follows Beta(12, 3)")
def test_beta_is_enats_law():
    assert stats.kstest(draws(ratio.beta), stats.beta(12, 3).cdf).pvalue > SIGNIFICANCE


def test_uniform_and_along_follow_their_laws():
    assert stats.kstest(draws(ratio.uniform), stats.uniform(0.5, 0.5).cdf).pvalue > SIGNIFICANCE
    ratios = draws(ratio.along)  # r = cos(pi / 2 u) has distribution 1 - 2 / pi * arccos(r)
    law = lambda r: 1 - 2 / np.pi * np.arccos(np.clip(r, 0, 1))  # noqa: E731
    assert stats.kstest(ratios, law).pvalue > SIGNIFICANCE
    assert (draws(partial(ratio.fixed, share=0.3)) == np.float32(0.3)).all()


def test_sometimes_masks_with_its_chance():
    ratios = draws(partial(ratio.sometimes, law=ratio.uniform, chance=0.25))
    masked = int((ratios > 0).sum())
    assert stats.binomtest(masked, DRAWS, 0.25).pvalue > SIGNIFICANCE


@pytest.mark.proves(28, "the ratio schedule starts at .15 and ends at .75 after two thirds")
def test_growth_has_lmds_endpoints_and_shape():
    assert float(growth.cosine(0.0)) == pytest.approx(0.15)
    assert float(growth.cosine(2 / 3)) == pytest.approx(0.75, abs=1e-6)
    assert float(growth.cosine(1.0)) == pytest.approx(0.75, abs=1e-6)

    def official(t):
        f = lambda x: np.cos((x + 0.008) / 1.008 * np.pi / 2) ** 2  # noqa: E731
        return 0.15 + 0.6 * (1 - f(t) / f(0))

    for place in (0.1, 0.3, 0.6):
        value = float(growth.cosine(place))
        assert value == pytest.approx(official(place * 1.5), abs=1e-5)


def test_other_growths_meet_their_corners():
    assert [float(growth.linear(p)) for p in (0, 1 / 3, 1)] == pytest.approx([0.15, 0.45, 0.75])
    values = [float(growth.two_ramps(p)) for p in (0, 1 / 6, 0.25, 1 / 3, 0.5, 2 / 3, 1)]
    assert values == pytest.approx([0.15, 0.4, 0.4, 0.4, 0.575, 0.75, 0.75], abs=1e-5)


def test_buckets_are_the_nearest_ratios():
    buckets = growth.bucketed(count=5)
    assert buckets.ratios == pytest.approx((0.15, 0.3, 0.45, 0.6, 0.75))
    for progress in np.linspace(0, 1, 41):
        expected = float(growth.cosine(progress))
        chosen = buckets.ratios[int(buckets.number(progress))]
        assert abs(chosen - expected) <= 0.075 + 1e-6


@pytest.mark.parametrize("values", [{"low": 0.0}, {"high": 1.0}, {"low": 0.8}, {"count": 1}])
def test_invalid_buckets_are_refused(values):
    with pytest.raises(MaskError, match="two or more"):
        growth.bucketed(**values)
