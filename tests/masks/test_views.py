"""Views drawn together: disjointness, cover, complements, counts of asymmetric pairs."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from maskmim.config import brick
from maskmim.config.bricks import bind
from maskmim.mask_tools.statistics import coverage_chi_square
from maskmim.masks import uniform, units, views
from maskmim.masks.core import MaskError, split_counts
from maskmim.types import Randomness
from tests.masks.sampling import context_of, draw
from tests.running import ROOT
from tests.tolerances import SIGNIFICANCE

pytestmark = pytest.mark.full

GOLDEN = ROOT / "tests/golden/masks"


@functools.cache
def draw_views(name, *, ratio, grid=(14, 14), count=1000, **options):
    """Return hidden tokens bool[count, N] of each view, and the masks."""
    randomness = Randomness.of(jax.random.key(8), count)
    options = tuple(options.items())
    masks = draw(randomness, sampler=getattr(views, name), grid=grid, ratio=ratio, options=options)
    return [np.asarray(mask.hidden) for mask in masks], masks


def check_split(mask, visible, hidden, length=196):
    """Check that a view splits the tokens into visible and predicted ones, with exact counts."""
    shown, predicted = np.asarray(mask.visible), np.asarray(mask.predict)
    assert shown.shape[1] == visible and predicted.shape[1] == hidden
    together = np.sort(np.concatenate([shown, predicted], axis=1), axis=1)
    np.testing.assert_array_equal(together, np.broadcast_to(np.arange(length), together.shape))
    assert np.take_along_axis(np.asarray(mask.hidden), predicted, axis=1).all()


@pytest.mark.proves(9, "the two views see disjoint tokens")
def test_disjoint_views_share_no_visible_token():
    (one, two), masks = draw_views("disjoint", ratio=0.75, count=6000)
    assert (one | two).all()
    for mask in masks:
        check_split(mask, 49, 147)
    for hidden in (one, two):
        statistic, degrees = coverage_chi_square(~hidden.reshape(-1, 14, 14))
        assert chi2.sf(statistic, degrees) > SIGNIFICANCE, statistic


@pytest.mark.proves(9, "equal to LUT's random_masking, given the same noise")
def test_disjoint_views_equal_luts():
    """Recorded by tests/golden/masks/unit_record.py from the official random_masking."""
    golden = np.load(GOLDEN / "unit_lut.npz")
    masks = views.disjoint_from_scores(-jnp.asarray(golden["noise"]), ratio=0.75)
    for mask, name in zip(masks, ("first", "second"), strict=True):
        expected = np.unpackbits(golden[name], axis=1)[:, :196]
        np.testing.assert_array_equal(np.asarray(mask.hidden), expected)


@pytest.mark.proves(18, "four masks at 0.75 show every token once")
def test_four_disjoint_views_show_every_token_once():
    maps, _ = draw_views("disjoint", ratio=0.75, count=50, views=4)
    np.testing.assert_array_equal(sum((~hidden).astype(int) for hidden in maps), 1)


def test_views_that_do_not_fit_are_an_error():
    with pytest.raises(MaskError, match="3 disjoint views of 98"):
        views.disjoint_from_scores(jnp.zeros((1, 196)), ratio=0.5, views=3)
    with pytest.raises(MaskError, match="at least 1"):
        views.disjoint_from_scores(jnp.zeros((1, 196)), ratio=0.5, views=0)


@pytest.mark.proves(83, "each view hides 30 of 49 units, together all, 11 of them twice")
def test_covering_views_hide_everything_and_as_little_twice_as_possible():
    (one, two), masks = draw_views("covering", ratio=0.6)
    assert (one | two).all()
    np.testing.assert_array_equal((one & two).sum(1), 4 * 11)
    for mask, hidden in zip(masks, (one, two), strict=True):
        check_split(mask, 76, 120)
        blocks = hidden.reshape(-1, 7, 2, 7, 2).sum((2, 4))
        assert set(np.unique(blocks)) == {0, 4}
        statistic, degrees = coverage_chi_square(blocks == 0)
        assert chi2.sf(statistic, degrees) > SIGNIFICANCE, statistic


@pytest.mark.proves(83, "the counts and overlaps of DMJD's block_masking")
@pytest.mark.parametrize("ratio", [0.6, 0.75])
def test_covering_views_have_the_counts_of_dmjds(ratio):
    """Recorded by tests/golden/masks/unit_record.py from the official block_masking."""
    golden = np.load(GOLDEN / "unit_dmjd.npz")
    official = [
        np.unpackbits(golden[f"{view}_{ratio}"], axis=1)[:, :196].astype(bool)
        for view in ("first", "second")
    ]
    ours, _ = draw_views("covering", ratio=ratio)
    for one, two in (official, ours):
        assert (one | two).all()
        assert (
            set(one.sum(1))
            == set(two.sum(1))
            == {views.covering_counts((14, 14), ratio=ratio)[0][1]}
        )
    assert set((official[0] & official[1]).sum(1)) == set((ours[0] & ours[1]).sum(1))


def test_three_covering_views_of_tokens_on_a_grid_that_units_do_not_tile():
    maps, masks = draw_views("covering", ratio=0.4, grid=(7, 11), count=300, views=3)
    assert np.any(maps, axis=0).all()
    for mask in masks:
        check_split(mask, *split_counts(77, 0.4), length=77)


def test_views_too_small_to_cover_are_an_error():
    with pytest.raises(MaskError, match="do not cover"):
        views.covering_counts((14, 14), ratio=0.48)
    with pytest.raises(MaskError, match="at least 2"):
        views.covering_counts((14, 14), ratio=0.9, views=1)
    assert views.covering_counts((14, 14), ratio=0.51) == ((96, 100),) * 2


def draw_complementary(grid, **options):
    return views.complementary(Randomness.of(jax.random.key(0), 3), context_of(grid), **options)


def test_complementary_views_see_what_the_other_hides():
    (one, two), masks = draw_views("complementary", ratio=0.75, count=50)
    np.testing.assert_array_equal(one, ~two)
    counts = views.complementary_counts((14, 14), ratio=0.75)
    assert counts == ((49, 147), (147, 49))
    for mask, numbers in zip(masks, counts, strict=True):
        check_split(mask, *numbers)


def test_the_complement_of_another_sampler():
    sampler = units.random
    (one, two), _ = draw_views("complementary", ratio=0.6, count=50, sampler=sampler)
    np.testing.assert_array_equal(one, ~two)
    assert (one.sum(1) == 120).all()
    counts = views.complementary_counts((14, 14), ratio=0.6, sampler=sampler)
    assert counts == ((76, 120), (120, 76))
    bound = functools.partial(units.random, ratio=0.6, unit=7)
    counts = views.complementary_counts((14, 14), ratio=0.6, sampler=bound)
    assert counts == ((49, 147), (147, 49))


def test_complementary_views_need_no_sampler_and_refuse_one_of_another_ratio():
    drawn = bind(brick(views.complementary, ratio=0.5))
    mask, _ = drawn(Randomness.of(jax.random.key(0), 3), context_of((14, 14)))
    check_split(mask, 98, 98)
    other = functools.partial(uniform.random, ratio=0.75)
    for call in (draw_complementary, views.complementary_counts):
        with pytest.raises(MaskError, match=r"ratio 0\.5 .* sampler of ratio 0\.75: set mask"):
            call((14, 14), ratio=0.5, sampler=other)


@pytest.mark.proves(67, "2 of 196 patches are visible at 0.985, the other view is whole")
def test_asymmetric_views_have_the_published_counts():
    assert views.asymmetric_counts((14, 14), ratios=(0.0, 0.985)) == ((196, 0), (2, 194))
    assert views.asymmetric_counts((14, 14)) == ((196, 0), (9, 187))
    assert views.asymmetric_counts((2, 5), ratios=(0.9,)) == ((1, 9),)
    randomness = Randomness.of(jax.random.key(2), 1000)
    whole, few = views.asymmetric(randomness, context_of((14, 14)), ratios=(0.0, 0.985))
    assert whole.predict.shape == whole.weight.shape == (1000, 0)
    assert not np.asarray(whole.hidden).any()
    check_split(whole, 196, 0)
    check_split(few, 2, 194)
    assert len(np.unique(np.asarray(few.visible), axis=0)) > 900


@pytest.mark.proves(88, "one view at a high ratio, one at a low, independent")
def test_asymmetric_views_are_independent():
    randomness = Randomness.of(jax.random.key(2), 2000)
    high, low = views.asymmetric(randomness, context_of((14, 14)), ratios=(0.75, 0.25))
    both = (np.asarray(high.hidden) & np.asarray(low.hidden)).mean()
    assert both == pytest.approx(0.75 * 0.25, abs=0.002)


@pytest.mark.parametrize("ratios", [(), (0.0, 1.0), (-0.1, 0.5), (0.0, 0.999)])
def test_ratios_that_leave_nothing_are_an_error(ratios):
    with pytest.raises(MaskError, match="leave"):
        views.asymmetric_counts((14, 14), ratios=ratios)
