"""Lattices and jittered lattices: spacing, exact counts, coverage, UM-MAE's masks."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from maskmim.mask_tools.statistics import coverage_chi_square, distance_to_visible, visible_map
from maskmim.masks import grids
from maskmim.masks.core import split_counts
from maskmim.types import Randomness
from tests.masks.sampling import draw, maps
from tests.running import ROOT
from tests.tolerances import SIGNIFICANCE

pytestmark = pytest.mark.full

GOLDEN = ROOT / "tests/golden/masks"
GRIDS = ((14, 14), (7, 11), (1, 40), (4, 6, 5), (32, 4), (33,))


@functools.cache
def shown(name, grid, ratio):
    """Draw 6000 maps of visible tokens, once."""
    randomness = Randomness.of(jax.random.key(4), 6000)
    mask = draw(randomness, sampler=getattr(grids, name), grid=grid, ratio=ratio)
    return visible_map(np.asarray(mask.visible), grid)


@pytest.mark.proves(3, "grid-wise masks keep one of every 2 x 2 patches, always the same")
def test_regular_is_every_second_row_and_column_at_three_quarters():
    seen = shown("regular", (14, 14), 0.75)[:200]
    assert (seen[:, :2, :2].sum((1, 2)) == 1).all()
    np.testing.assert_array_equal(seen, np.tile(seen[:, :2, :2], (1, 7, 7)))
    assert len(np.unique(seen, axis=0)) == 4


def test_regular_is_a_checkerboard_at_a_half():
    seen = shown("regular", (14, 14), 0.5)[:20]
    assert (seen[:, 1:] != seen[:, :-1]).all() and (seen[:, :, 1:] != seen[:, :, :-1]).all()


def test_regular_lattices_of_larger_ratios_lie_in_those_of_smaller_ones():
    sparse, dense = (shown("regular", (14, 14), ratio) for ratio in (0.9, 0.75))
    assert (dense | ~sparse).all() and sparse.sum() < dense.sum()


@pytest.mark.parametrize("grid", [(16, 16), (14, 14), (7, 11), (8, 8, 8), (64,)])
def test_the_first_ranks_of_a_lattice_are_those_of_a_coarser_one(grid):
    ranks = grids.lattice_ranks(grid).reshape(grid)
    assert sorted(ranks.reshape(-1)) == list(range(ranks.size))
    for step in (2, 4):
        coarse = ranks[(slice(None, None, step),) * len(grid)]
        assert sorted(coarse.reshape(-1)) == list(range(coarse.size))


@pytest.mark.parametrize("name", ["regular", "jittered"])
@pytest.mark.parametrize("ratio", [0.75, 0.9])
def test_tokens_are_nearer_to_a_visible_one_than_in_uniform_masks(name, ratio):
    even = distance_to_visible(shown(name, (14, 14), ratio)[:100])
    uniform = distance_to_visible(maps("random", (14, 14), 100, ratio=ratio))
    assert even.mean() < 0.95 * uniform.mean()
    assert even.max((1, 2)).mean() < 0.9 * uniform.max((1, 2)).mean()


@pytest.mark.proves(3, "every token is visible equally often in grid-wise masks")
@pytest.mark.parametrize("name", ["regular", "jittered"])
@pytest.mark.parametrize(("grid", "ratio"), [((14, 14), 0.75), ((14, 14), 0.9), ((7, 11), 0.6)])
def test_every_token_is_visible_equally_often(name, grid, ratio):
    seen = shown(name, grid, ratio)
    statistic, degrees = coverage_chi_square(seen)
    # Few different masks vary in fewer ways than there are tokens.
    degrees = min(degrees, np.linalg.matrix_rank(np.cov(seen.reshape(6000, -1), rowvar=False)))
    assert chi2.sf(statistic, degrees) > SIGNIFICANCE, (statistic, degrees)


def test_cells_of_different_sizes_need_the_shift():
    sizes = jnp.asarray(np.bincount(grids.cells((7, 11), 31)))
    places = jax.random.randint(jax.random.key(0), (6000, 31), 0, sizes)
    mask = grids.jittered_masks(places, jnp.zeros((6000, 2), jnp.int32), grid=(7, 11))
    statistic, degrees = coverage_chi_square(visible_map(np.asarray(mask.visible), (7, 11)))
    assert chi2.sf(statistic, degrees) < 1e-6


def test_jittered_masks_equal_um_maes():
    """Recorded by tests/golden/masks/unit_record.py from the official generator."""
    golden = np.load(GOLDEN / "unit_ummae.npz")
    places = jnp.asarray(golden["places"], jnp.int32)
    mask = grids.jittered_masks(places, jnp.zeros((len(places), 2), jnp.int32), grid=(16, 16))
    expected = np.unpackbits(golden["hidden"], axis=1)
    np.testing.assert_array_equal(np.asarray(mask.hidden), expected)


def test_jittered_shows_one_token_of_every_two_by_two_cell():
    seen = shown("jittered", (14, 14), 0.75)
    cells = seen.reshape(-1, 7, 2, 7, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 4)
    assert (cells.sum(1) == 1).all()
    np.testing.assert_allclose(cells.mean(0), 0.25, atol=0.005)


def test_a_shift_moves_the_partition_cyclically():
    places = jnp.zeros((2, 6), jnp.int32)
    hidden = grids.jittered_masks(places, jnp.array([[0, 0], [1, 4]]), grid=(4, 6)).hidden
    still, moved = np.asarray(hidden).reshape(2, 4, 6)
    np.testing.assert_array_equal(np.roll(still, (1, 4), (0, 1)), moved)


@pytest.mark.parametrize("grid", GRIDS)
def test_cells_are_boxes_for_any_number(grid):
    length = int(np.prod(grid))
    places = np.indices(grid).reshape(len(grid), -1)
    for count in {1, 2, length // 10, length // 4, length // 2, length - 1}:
        cells = grids.cells(grid, count)
        sizes = np.bincount(cells)
        assert len(sizes) == count and sizes.min() >= 1
        for cell in range(count):
            assert np.prod(np.ptp(places[:, cells == cell], axis=1) + 1) == sizes[cell]


def test_cells_split_the_published_grid_and_stay_compact_elsewhere():
    square = grids.cells((14, 14), 49).reshape(14, 14)
    np.testing.assert_array_equal(square, np.arange(49).reshape(7, 7).repeat(2, 0).repeat(2, 1))
    # 20 visible of 196: cells of about 3 x 3, none longer than 4 tokens.
    odd = grids.cells((14, 14), 20).reshape(14, 14)
    for cell in range(20):
        rows, columns = np.nonzero(odd == cell)
        assert max(np.ptp(rows), np.ptp(columns)) <= 3


@pytest.mark.parametrize("name", ["regular", "jittered"])
@pytest.mark.parametrize(("grid", "ratio"), [((33,), 0.95), ((4, 6, 5), 0.05)])
def test_counts_are_exact_on_grids_of_other_axes(name, grid, ratio):
    randomness = Randomness.of(jax.random.key(2), 3)
    mask = draw(randomness, sampler=getattr(grids, name), grid=grid, ratio=ratio)
    visible, hidden = split_counts(int(np.prod(grid)), ratio)
    assert mask.visible.shape == (3, visible) and mask.predict.shape == (3, hidden)
    np.testing.assert_array_equal(np.asarray(mask.hidden).sum(1), hidden)
