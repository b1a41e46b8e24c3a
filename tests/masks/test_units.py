"""Masks of whole units: official masks, counts, constancy within units, equal coverage."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from maskmim.mask_tools.statistics import coverage, coverage_chi_square, mean_component_size
from maskmim.masks import units
from maskmim.masks.core import MaskError, split_counts
from maskmim.types import Randomness
from tests.masks.sampling import context_of, draw
from tests.masks.sampling import maps as sampled
from tests.running import ROOT
from tests.tolerances import SIGNIFICANCE

pytestmark = pytest.mark.full

GOLDEN = ROOT / "tests/golden/masks"


@functools.cache
def draw_units(grid, *, ratio, unit, count=200):
    """Draw maps of hidden tokens bool[count, *grid], and their mask."""
    randomness = Randomness.of(jax.random.key(3), count)
    options = (("unit", unit),)
    mask = draw(randomness, sampler=units.random, grid=grid, ratio=ratio, options=options)
    return np.asarray(mask.hidden).reshape(count, *grid), mask


def simmim_masks():
    """Draw 6000 maps of SimMIM's masks on 14 x 14, once."""
    return draw_units((14, 14), ratio=0.6, unit=2, count=6000)


@pytest.mark.proves(107, "equal to SimMIM's MaskGenerator, given the same permutation")
@pytest.mark.parametrize(
    ("case", "side", "unit", "ratio"),
    [("224_16_0.6", 14, 2, 0.6), ("192_4_0.6", 48, 8, 0.6), ("192_16_0.75", 12, 2, 0.75)],
)
def test_masks_equal_simmims(case, side, unit, ratio):
    """Recorded by tests/golden/masks/unit_record.py from the official generator."""
    golden = np.load(GOLDEN / "unit_simmim.npz")
    order = jnp.asarray(golden[f"order_{case}"], jnp.int32)
    mask = units.units_from_order(order, grid=(side, side), ratio=ratio, unit=unit)
    expected = np.unpackbits(golden[f"hidden_{case}"], axis=1)[:, : side**2]
    np.testing.assert_array_equal(np.asarray(mask.hidden), expected)


def test_masks_equal_pixios():
    """Recorded by tests/golden/masks/unit_record.py from the official random_masking."""
    golden = np.load(GOLDEN / "unit_pixio.npz")
    # Pixio keeps the units of least noise.
    scores = units.to_units(-jnp.asarray(golden["noise"]), (16, 16), 4)
    mask = units.weakest_units(scores, grid=(16, 16), ratio=0.75, unit=4)
    expected = np.unpackbits(golden["hidden"], axis=1)
    np.testing.assert_array_equal(np.asarray(mask.hidden), expected)
    assert mask.visible.shape == (8, 4 * 16)


@pytest.mark.proves(107, "30 of 49 units are hidden, each whole, and 22 of 36 at 192 pixels")
def test_published_numbers_of_units_are_hidden_whole():
    maps, mask = simmim_masks()
    blocks = maps.reshape(-1, 7, 2, 7, 2).sum((2, 4))
    assert set(np.unique(blocks)) == {0, 4}
    assert ((blocks == 4).sum((1, 2)) == 30).all()
    counts = units.unit_counts((14, 14), ratio=0.6)
    assert counts == (4 * 19, 4 * 30) == (mask.visible.shape[1], mask.predict.shape[1])
    assert units.unit_counts((12, 12), ratio=0.6) == (4 * 14, 4 * 22)


@pytest.mark.proves(107, "every unit is visible equally often")
def test_coverage_is_even_where_units_tile():
    maps, _ = simmim_masks()
    statistic, degrees = coverage_chi_square(~maps[:, ::2, ::2])
    assert degrees == 48
    assert chi2.sf(statistic, degrees) > SIGNIFICANCE, statistic


@pytest.mark.proves(107, "units make larger groups of visible tokens than single tokens do")
def test_units_make_larger_groups_than_tokens():
    maps, _ = simmim_masks()
    groups = mean_component_size(~maps[:300]).mean()
    single = mean_component_size(sampled("random", (14, 14), 300, ratio=0.6)).mean()
    assert groups > 3 * single, (groups, single)


@pytest.mark.parametrize(("unit", "ratio"), [(2, 0.95), ((3, 2), 0.5)])
def test_where_units_do_not_tile_counts_are_exact_and_one_unit_is_cut(unit, ratio):
    maps, mask = draw_units((7, 11), ratio=ratio, unit=unit)
    assert (mask.visible.shape[1], mask.predict.shape[1]) == split_counts(77, ratio)
    rows, columns = units.unit_shape((7, 11), unit)
    cut = np.zeros(len(maps), int)
    for row in range(0, 7, rows):
        for column in range(0, 11, columns):
            block = maps[:, row : row + rows, column : column + columns].reshape(len(maps), -1)
            cut += block.any(1) & ~block.all(1)
    assert cut.max() == 1


def test_a_cut_unit_is_cut_at_random():
    # 8 of 77 tokens are hidden: half of a unit of 4 x 4, never always the same half.
    maps, _ = draw_units((7, 11), ratio=0.1, unit=4, count=4000)
    corner = coverage(maps)[:4, :4]
    np.testing.assert_allclose(corner, corner.mean(), atol=0.02)


@pytest.mark.parametrize(
    ("grid", "unit", "shape", "tile"),
    [
        ((1, 512), 2, (1, 256), 2),
        ((32, 4), 8, (4, 1), 32),
        ((8, 14, 14), (2, 7, 7), (4, 2, 2), 98),
        ((6,), 3, (2,), 3),
        ((7, 11), 2, (4, 6), 1),
    ],
)
def test_units_on_other_grids(grid, unit, shape, tile):
    assert units.unit_grid(grid, unit) == shape
    assert units.tile_size(grid, unit) == tile
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    spread = np.asarray(units.to_units(jnp.asarray(values), grid, unit)).reshape(grid)
    repeated = values[0]
    for axis, side in enumerate(units.unit_shape(grid, unit)):
        repeated = repeated.repeat(side, axis)
    np.testing.assert_array_equal(spread, repeated[tuple(map(slice, grid))])


def test_scores_rank_as_the_sampler_does():
    _, mask = simmim_masks()
    randomness = Randomness.of(jax.random.key(3), 20)
    scores = units.random_scores(randomness, context_of((14, 14)), unit=2)
    again = units.weakest_units(scores, grid=(14, 14), ratio=0.6, unit=2)
    np.testing.assert_array_equal(np.asarray(again.visible), np.asarray(mask.visible)[:20])


def test_floating_point_adds_no_unit():
    assert units.unit_counts((20, 20), ratio=0.07) == (4 * 93, 4 * 7)


@pytest.mark.parametrize(
    ("unit", "ratio", "says"),
    [
        (2, 0.99, "hides 49"),
        (14, 0.5, "hides 1"),
        (0, 0.5, "above 0"),
        ((2, 2, 2), 0.5, "each axis"),
    ],
)
def test_invalid_units_and_ratios_are_errors(unit, ratio, says):
    with pytest.raises(MaskError, match=says):
        units.unit_counts((14, 14), ratio=ratio, unit=unit)
    with pytest.raises(MaskError, match=says):
        draw_units((14, 14), ratio=ratio, unit=unit)
