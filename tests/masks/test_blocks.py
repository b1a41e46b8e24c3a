"""Block masks: equal to the official generators on the same noise, exact, as biased as theirs."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2, chisquare, kstest

from maskmim.mask_tools.statistics import component_labels, coverage, coverage_chi_square
from maskmim.masks import blocks, rectangles
from maskmim.masks.core import MaskError
from maskmim.types import Context, Randomness
from tests.golden.masks.block_official import BEIT, CASES, COVERAGE, CUBES, HERE, noise, recorded
from tests.tolerances import SIGNIFICANCE

GRID = (14, 14)
COUNT = 4000
LOW, HIGH = math.log(0.3), -math.log(0.3)


@functools.partial(jax.jit, static_argnames=("sampler", "grid", "ratio", "options"))
def draw(randomness, sampler, grid, ratio, options=()):
    return sampler(randomness, Context({}, {"tokens": grid}, {}), ratio=ratio, **dict(options))


@functools.cache
def hidden_maps(sampler, grid, ratio, batch, options=()):
    mask = draw(Randomness.of(jax.random.key(7), batch), sampler, grid, ratio, options)
    return np.asarray(mask.hidden).reshape(batch, *grid)


@functools.partial(jax.jit, static_argnames=("procedure", "grid"))
def blocks_of(uniforms, procedure, grid, count):
    return procedure(uniforms, grid, count=count)


@pytest.mark.proves(4, "BEiT blocks equal CAE's exact generator for the same random numbers")
@pytest.mark.proves(113, "BEiT blocks equal the official law for the same random numbers")
@pytest.mark.parametrize("place", range(len(BEIT)))
def test_blocks_equal_the_official_ones(place):
    """Recorded by tests/golden/masks/block_official.py from Atten4Vis/CAE, 128 attempts each."""
    grid, count = BEIT[place]
    ours = blocks_of(noise(place, CASES, 128, 4), blocks.beit_blocks, grid, count)
    np.testing.assert_array_equal(np.asarray(ours), recorded("beit", place, grid))


@pytest.mark.proves(31, "cubes equal MaskFeat's generator for the same random numbers")
@pytest.mark.parametrize("place", range(len(CUBES)))
def test_cubes_equal_the_official_ones(place):
    """Recorded by tests/golden/masks/block_official.py from SlowFast, 100 attempts each."""
    grid, count = CUBES[place]
    ours = blocks_of(noise(place, CASES, 100, 6), blocks.cube_blocks, grid, count)
    np.testing.assert_array_equal(np.asarray(ours), recorded("cubes", place, grid))


@pytest.mark.proves(4, "the number of hidden tokens is exact at every ratio")
@pytest.mark.parametrize("grid", [(14, 14), (7, 11), (32, 4)])
def test_blocks_reach_the_number_at_every_ratio(grid):
    counts = jnp.array([round(share / 20 * math.prod(grid)) for share in range(1, 20)])
    uniforms = jnp.asarray(noise(1, 16, 128, 4))
    procedure = jax.jit(jax.vmap(lambda count: blocks.beit_blocks(uniforms, grid, count=count)))
    hidden = np.asarray(procedure(counts)).sum((2, 3))
    assert (hidden <= counts[:, None]).all()
    assert (counts - hidden.mean(1) < 1 + 0.01 * counts).all()


@pytest.mark.parametrize("ratio", [0.05, 0.95])
def test_a_mask_that_blocks_alone_do_not_fill_is_exact(ratio):
    hidden = hidden_maps(blocks.beit, (32, 4), ratio, 16, (("trials", 2),))
    assert (hidden.sum((1, 2)) == round(ratio * 128)).all()


def test_missing_tokens_come_from_those_that_touch_hidden_ones():
    hidden = np.zeros((3, 5, 6), bool)
    hidden[0, 2, 2:4] = hidden[1, 0, 0] = True
    order = jax.random.uniform(jax.random.key(0), (3, 30))
    ours = np.asarray(blocks.top_up(jnp.asarray(hidden), order, count=8)).reshape(3, 5, 6)
    assert (ours.sum((1, 2)) == 8).all() and (ours | ~hidden).all()
    cross = hidden[0].copy()
    cross[[1, 1, 3, 3, 2, 2], [2, 3, 2, 3, 1, 4]] = True
    np.testing.assert_array_equal(ours[0], cross)
    # The two neighbours of a corner, then five others; without a hidden token, the largest.
    assert ours[1, 0, 1] and ours[1, 1, 0]
    np.testing.assert_array_equal(ours[2].ravel(), order[2] >= np.sort(order[2])[-8])


def first_blocks(batch):
    """Return the sides of the first blocks on 14 x 14 with 78 missing, if accepted."""
    uniforms = noise(3, batch, 1, 4)
    hidden = np.asarray(blocks_of(uniforms, blocks.beit_blocks, GRID, 78))
    hidden = hidden[hidden.any((1, 2))]
    sides = np.stack([hidden.any(2).sum(1), hidden.any(1).sum(1)], 1)
    assert (sides.prod(1) == hidden.sum((1, 2))).all()
    return sides


@pytest.mark.proves(113, "areas of blocks are uniform from 16 up and aspects log-uniform from 0.3")
def test_first_blocks_have_the_sides_of_the_published_law():
    sides = first_blocks(20000)
    area, aspect = np.meshgrid(
        16 + 62 * (np.arange(1500) + 0.5) / 1500,
        np.exp(LOW + (HIGH - LOW) * (np.arange(1500) + 0.5) / 1500),
    )
    height, width = (np.rint(np.sqrt(area * power)).astype(int) for power in (aspect, 1 / aspect))
    fits = (height < 14) & (width < 14) & (height * width <= 78)
    law = np.bincount((height * 14 + width)[fits], minlength=196) / fits.sum()
    seen = np.bincount(sides @ [14, 1], minlength=196)
    assert not seen[law == 0].any()
    common = law * len(sides) >= 5
    rest = [seen[~common].sum()], [law[~common].sum()]
    expected = np.concatenate([law[common], rest[1]]) * len(sides)
    assert chisquare(np.concatenate([seen[common], rest[0]]), expected).pvalue > SIGNIFICANCE


@pytest.mark.proves(113, "the log aspect of blocks is uniform between log 0.3 and its negative")
def test_log_aspects_are_uniform():
    uniforms = jax.random.uniform(jax.random.key(3), (4000, 1))
    sides = rectangles.real_sides(
        uniforms, jnp.float32(40.0), (13.49, 13.49), (0.3, 1 / 0.3), within=blocks.range_or_nearest
    )
    height, width = (np.asarray(side, np.float64) for side in sides)
    np.testing.assert_allclose(height * width, 40, rtol=1e-5)
    share = (np.log(height / width) - LOW) / (HIGH - LOW)
    assert kstest(share, "uniform").pvalue > SIGNIFICANCE


@pytest.mark.proves(113, "hidden tokens are connected blocks")
def test_hidden_tokens_are_few_connected_groups():
    hidden = hidden_maps(blocks.beit, GRID, 0.4, COUNT)[:800]
    labels = component_labels(hidden).reshape(800, -1)
    groups = (labels == np.arange(1, 197)).sum(1)
    assert (hidden.sum((1, 2)) == 78).all()
    assert groups.mean() < 1.6 and groups.max() <= 6


@pytest.mark.proves(113, "no token is hidden more or less often than by the official generator")
def test_coverage_is_the_official_one():
    """Recorded by tests/golden/masks/block_official.py: 20,000 masks of the official loop.

    The official masks stop short of 78 tokens (77.5 on average), so the shares differ by 0.0025.
    """
    with np.load(HERE / "block_beit.npz") as stored:
        official = stored["coverage"].astype(np.float64)
    ours = coverage(hidden_maps(blocks.beit, GRID, 0.4, COUNT))
    error = np.sqrt(official * (1 - official) * (1 / COUNT + 1 / COVERAGE))
    assert (abs(ours - official - 0.0025) < 4.5 * error + 0.003).all()
    assert ours.std() == pytest.approx(official.std(), rel=0.04)
    # The bias itself: the middle is hidden sixteen times as often as a corner.
    assert ours[[0, 0, -1, -1], [0, -1, 0, -1]].mean() == pytest.approx(0.045, abs=0.006)
    assert ours[6:8, 6:8].mean() == pytest.approx(0.737, abs=0.02)


def rectangle_on_cycle(shown):
    """Return height and width of the rectangle that the true tokens form, else None.

    Up to a cyclic shift, and tokens may be missing at its end.
    """
    tokens = shown.sum()
    for rows in range(shown.shape[0]):
        for columns in range(shown.shape[1]):
            moved = np.roll(shown, (-rows, -columns), (0, 1))
            height, width = moved.any(1).sum(), moved.any(0).sum()
            box = moved[:height, :width].ravel()
            if box[:tokens].all() and box.sum() == tokens:
                return height, width
    return None


@pytest.mark.proves(64, "the visible part is one rectangle up to a cyclic shift")
@pytest.mark.parametrize("grid, ratio", [((16, 16), 0.65), ((7, 11), 0.5)])
def test_the_visible_part_is_one_rectangle(grid, ratio):
    shown = ~hidden_maps(blocks.inverse, grid, ratio, 2000)
    sides = [rectangle_on_cycle(each) for each in shown[:60]]
    assert None not in sides
    assert len(set(sides)) >= 4
    for height, width in sides:
        # Sides are rounded up, so that an aspect may leave its range by a token on either side.
        assert height / (width - 1) > 0.5 and (height - 1) / width < 2


@pytest.mark.proves(64, "every token is visible equally often")
def test_inverse_blocks_show_every_token_equally_often():
    shown = ~hidden_maps(blocks.inverse, (7, 11), 0.5, 2000)
    statistic, degrees = coverage_chi_square(shown)
    assert chi2.sf(statistic, degrees) > SIGNIFICANCE


@pytest.mark.proves(64, "166 of 256 tokens are hidden at 0.65")
def test_inverse_blocks_hide_as_many_as_capi():
    assert (hidden_maps(blocks.inverse, (16, 16), 0.65, 2000).sum((1, 2)) == 166).all()


@pytest.mark.proves(31, "cubes extend blocks over windows of time")
def test_first_cubes_have_uniform_lengths_and_constant_blocks():
    hidden = np.asarray(blocks_of(noise(5, 4000, 1, 6), blocks.cube_blocks, (8, 14, 14), 1200))
    hidden = hidden[hidden.any((1, 2, 3))]
    steps = hidden.any((2, 3))
    lengths = steps.sum(1)
    block = hidden.any(1)
    # The same block at every step of one window.
    assert (hidden == steps[:, :, None, None] & block[:, None]).all()
    assert (np.diff(steps.astype(int), axis=1, prepend=0, append=0) == 1).sum() == len(hidden)
    # All lengths are accepted while the largest cubes of the longest fit into what is missing.
    small = block.sum((1, 2)) * 8 <= 1200
    assert chisquare(np.bincount(lengths[small], minlength=9)[1:]).pvalue > SIGNIFICANCE


def test_invalid_blocks_are_errors():
    randomness = Randomness.of(jax.random.key(0), 2)
    for options, words in (
        ({"smallest": 0}, "smallest"),
        ({"trials": 0}, "trials"),
        ({"aspect": (1.0, 0.5)}, "aspect"),
    ):
        with pytest.raises(MaskError, match=words):
            draw(randomness, blocks.beit, GRID, 0.4, tuple(options.items()))
    with pytest.raises(MaskError, match="time, rows, columns"):
        draw(randomness, blocks.cubes, GRID, 0.4)
    with pytest.raises(MaskError, match="area"):
        draw(randomness, blocks.cubes, (2, 4, 4), 0.4, (("area", (0.5, 1.5)),))
    with pytest.raises(MaskError, match="mask ratio"):
        draw(randomness, blocks.inverse, (4, 4), 0.0)
