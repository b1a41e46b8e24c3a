"""Spread blue noise: counts in windows, runs, spectrum, coverage; moves against numpy."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import chi2

from maskmim.mask_tools.statistics import coverage_chi_square, radial_power, visible_map
from maskmim.masks import colour, spread_blue
from maskmim.masks.core import keep_strongest, split_counts
from maskmim.types import Randomness
from tests.masks.sampling import context_of, draw
from tests.tolerances import SIGNIFICANCE

pytestmark = pytest.mark.full

DEFAULT = {"window": 3, "spread": 3.0, "weights": 2.0}
BLUE, SPREAD = colour.blue, spread_blue.spread_blue


@functools.cache
def maps(sampler, grid, count, ratio=0.8, options=()):
    randomness = Randomness.of(jax.random.key(7), count)
    mask = draw(randomness, sampler=sampler, grid=grid, ratio=ratio, options=options)
    shown = visible_map(np.asarray(mask.visible), grid)
    assert (shown.reshape(count, -1).sum(1) == split_counts(int(np.prod(grid)), ratio)[0]).all()
    return shown


def white(shown):
    """Return maps with as many visible tokens as `shown`, at random places."""
    flat = np.random.default_rng(0).permuted(shown.reshape(len(shown), -1), axis=1)
    return flat.reshape(shown.shape)


def window_variance(shown, size):
    """Return the variance of the number of visible tokens in windows of `size` tokens."""
    sizes = tuple(min(size, cells) for cells in shown.shape[1:])
    axes = tuple(range(1, shown.ndim))
    return sliding_window_view(shown, sizes, axis=axes).sum(tuple(-axis for axis in axes)).var()


def runs(shown, line, length):
    """Return the share of places from which `length` tokens along a line are all visible."""
    cells = shown.shape[1:]
    parts = []
    for step in range(length):
        first = [step if each > 0 else (length - 1 - step) * -each for each in line]
        room = [size - (length - 1) * abs(each) for size, each in zip(cells, line, strict=True)]
        first = [start if each else 0 for start, each in zip(first, line, strict=True)]
        cut = (slice(start, start + left) for start, left in zip(first, room, strict=True))
        parts.append(shown[(slice(None), *cut)])
    return np.logical_and.reduce(parts).mean()


@pytest.mark.proves(115, "counts in sliding windows vary less than white and blue noise's")
@pytest.mark.parametrize("grid", [(14, 14), (32, 4)])
def test_counts_in_windows_vary_less_than_those_of_blue_noise(grid):
    spread, blue = maps(SPREAD, grid, 300), maps(BLUE, grid, 300)
    for size in (3, 4, 5):
        variances = [window_variance(each, size) for each in (spread, blue, white(spread))]
        assert variances[0] < 0.5 * variances[1] < 0.5 * variances[2], (size, variances)


@pytest.mark.parametrize("grid, count", [((30,), 4000), ((3, 5, 5), 100)])
def test_tokens_spread_along_any_number_of_axes(grid, count):
    shown = maps(SPREAD, grid, count, 0.75)
    assert window_variance(shown, 3) < 0.75 * window_variance(white(shown), 3)


@pytest.mark.proves(115, "no long runs in the four directions")
@pytest.mark.parametrize("line", spread_blue.directions(2))
def test_runs_along_lines_are_rare(line):
    spread, blue = maps(SPREAD, (14, 14), 300), maps(BLUE, (14, 14), 300)
    scattered = white(spread)
    assert runs(spread, line, 2) < 0.6 * runs(blue, line, 2)
    assert runs(spread, line, 2) < 0.5 * runs(scattered, line, 2)
    assert runs(scattered, line, 3) > 0.006
    assert runs(spread, line, 3) < 0.1 * runs(scattered, line, 3)


def test_a_weight_acts_along_its_direction():
    assert spread_blue.directions(2) == ((0, 1), (1, -1), (1, 0), (1, 1))
    assert [len(spread_blue.directions(axes)) for axes in (1, 2, 3)] == [1, 4, 13]
    options = (("spread", 0.0), ("weights", (4.0, 0.0, 0.0, 0.0)))
    rows = maps(SPREAD, (14, 14), 300, options=options)
    blue = maps(BLUE, (14, 14), 300)
    assert runs(rows, (0, 1), 2) < 0.4 * runs(blue, (0, 1), 2)
    assert runs(rows, (1, 0), 2) > 0.8 * runs(blue, (1, 0), 2)


@pytest.mark.proves(115, "the spectrum of spread blue noise is high-pass")
def test_masks_have_a_high_pass_spectrum():
    frequency, power = radial_power(maps(SPREAD, (14, 14), 300), rings=7)
    _, of_blue = radial_power(maps(BLUE, (14, 14), 300), rings=7)
    assert (np.diff(power) > 0).all()
    low, high = frequency < 0.2, frequency > 0.4
    assert power[low].mean() < 0.25 * power[high].mean()
    assert power[low].mean() < 0.5 * of_blue[low].mean()


@pytest.mark.proves(115, "every token is visible equally often")
@pytest.mark.parametrize("grid, ratio", [((9, 9), 0.8), ((30,), 0.75)])
def test_every_token_is_visible_equally_often(grid, ratio):
    statistic, degrees = coverage_chi_square(maps(SPREAD, grid, 4000, ratio))
    assert degrees == np.prod(grid) - 1
    assert chi2.sf(statistic, degrees) > SIGNIFICANCE, statistic


def test_opposite_borders_do_not_crowd_each_other():
    shown = maps(SPREAD, (9, 9), 4000)
    share = shown.mean()
    assert (shown[:, :, 0] & shown[:, :, 1]).mean() < 0.6 * share**2
    assert (shown[:, :, 0] & shown[:, :, -1]).mean() == pytest.approx(share**2, rel=0.08)


def pairs(torus):
    """Return the pressure [N, N] between any two tokens of a torus."""
    places = np.indices(torus.sizes).reshape(len(torus.sizes), -1)
    offsets = places[:, :, None] - places[:, None]
    return torus.pressure[
        tuple(each + size - 1 for each, size in zip(offsets, torus.sizes, strict=True))
    ].astype(np.float64)


def move_by_search(shown, noise, pairs, moves):
    """Make the moves in numpy; return the tokens and the objective before and after each."""
    shown, objective = shown.copy(), []
    for _ in range(moves):
        objective.append(shown @ pairs @ shown / 2 - noise[shown].sum())
        cost = pairs @ shown - noise
        leaves = np.flatnonzero(shown)[cost[shown].argmax()]
        shown[leaves] = False
        cost = pairs @ shown - noise
        shown[np.flatnonzero(~shown)[cost[~shown].argmin()]] = True
    return shown, np.array([*objective, shown @ pairs @ shown / 2 - noise[shown].sum()])


@pytest.mark.parametrize("grid, window", [((5, 6), 2), ((17,), 3), ((3, 2, 4), 1), ((1, 9), 3)])
def test_moves_are_those_of_a_search_over_all_pairs(grid, window):
    torus = spread_blue.torus_of(grid, **{**DEFAULT, "window": window})
    between, count = pairs(torus), 4
    np.testing.assert_array_equal(between, between.T)
    noise = np.random.default_rng(0).standard_normal((count, *torus.sizes)).astype(np.float32)
    shown = noise > 0.5
    crowd = spread_blue.crowding(jnp.asarray(shown), torus)
    flat = shown.reshape(count, -1)
    np.testing.assert_array_equal(np.asarray(crowd).reshape(count, -1), flat @ between)
    moves = flat.sum(1).max()
    move_all = jax.jit(
        jax.vmap(lambda *each: spread_blue.move_apart(*each, torus, moves=int(moves)))
    )
    moved_tokens, new_crowd = (
        np.asarray(part).reshape(count, -1) for part in move_all(shown, crowd, noise)
    )
    for row in range(count):
        expected, objective = move_by_search(flat[row], noise[row].reshape(-1), between, moves)
        np.testing.assert_array_equal(moved_tokens[row], expected)
        assert (np.diff(objective) < 1e-5).all() and objective[-1] < objective[0]
    np.testing.assert_array_equal(new_crowd, moved_tokens @ between)


def test_pressure_of_two_tokens():
    def at(*offset, **options):
        return float(spread_blue.pressure(np.array(offset), **{**DEFAULT, **options}))

    assert at(0, 0) == at(4, 0) == at(0, -4) == 0
    assert at(0, 1) == at(-1, 0) == pytest.approx(3 * np.exp(-1 / 4.5) + 2, abs=1 / 512)
    assert at(2, -2) == pytest.approx(3 * np.exp(-8 / 4.5) + 1, abs=1 / 512)
    assert at(1, 2) == pytest.approx(3 * np.exp(-5 / 4.5), abs=1 / 512)
    assert at(3, 0, weights=(0.0, 0.0, 6.0, 0.0), spread=0.0) == 2
    assert at(0, 3, weights=(0.0, 0.0, 6.0, 0.0), spread=0.0) == 0


def test_noise_equals_scipys_on_a_torus():
    keys = jax.random.split(jax.random.key(1), 3)
    noise = np.asarray(spread_blue.high_pass(keys, (7, 1, 12), 1.3))
    white = np.stack([jax.random.normal(key, (7, 1, 12)) for key in keys]).astype(np.float64)
    options = {"sigma": (1.3, 0, 1.3), "mode": "wrap", "truncate": 4.0}
    high = white - np.stack([scipy.ndimage.gaussian_filter(each, **options) for each in white])
    scale = np.linalg.lstsq(high.reshape(-1, 1), noise.reshape(-1), rcond=None)[0]
    np.testing.assert_allclose(noise, high * scale, atol=1e-5)


def test_noise_has_variance_one():
    keys = jax.random.split(jax.random.key(1), 2000)
    noise = np.asarray(jax.jit(lambda keys: spread_blue.high_pass(keys, (8, 9), 1.0))(keys))
    np.testing.assert_allclose(noise.var(0), 1, atol=0.16)
    assert noise.var() == pytest.approx(1, abs=0.02)


def test_without_strengths_tokens_stay_where_blue_noise_has_them():
    options = (("spread", 0.0), ("weights", 0.0))
    shown = maps(SPREAD, (6, 7), 20, 0.75, options)
    keys = Randomness.of(jax.random.key(7), 20).each("mask")
    noise = spread_blue.high_pass(keys, (12, 13), 1.0)[:, :6, :7].reshape(20, -1)
    expected = keep_strongest(noise, split_counts(42, 0.75)[0])
    np.testing.assert_array_equal(shown.reshape(20, -1), expected)


def test_the_moves_suffice():
    grid, ratio, count = (14, 14), 0.75, 100
    randomness, context = Randomness.of(jax.random.key(7), count), context_of(grid)
    torus = spread_blue.torus_of(grid, **DEFAULT)
    noise = spread_blue.high_pass(randomness.each("mask"), torus.sizes, 1.0)
    total = round(49 / 196 * 20 * 20)
    shown = keep_strongest(noise.reshape(count, -1), total).reshape(noise.shape)
    move_all = jax.jit(jax.vmap(lambda *each: spread_blue.move_apart(*each, torus, moves=total)))
    settled = np.asarray(move_all(shown, spread_blue.crowding(shown, torus), noise)[0])[:, :14, :14]
    scores = jax.jit(lambda r: spread_blue.spread_blue_scores(r, context, ratio=ratio))(randomness)
    left = np.asarray(scores > 20).reshape(settled.shape)
    assert (left == settled).reshape(count, -1).all(1).mean() > 0.98


@pytest.mark.parametrize(
    "options",
    [
        {"window": 0},
        {"spread": -1.0},
        {"spread": float("nan")},
        {"weights": float("inf")},
        {"weights": (1.0, 1.0, -1.0, 1.0)},
    ],
)
def test_impossible_strengths_are_errors(options):
    with pytest.raises(ValueError, match="at least one token, the others must be 0 or more"):
        spread_blue.torus_of((4, 4), **{**DEFAULT, **options})


def test_a_wrong_number_of_weights_is_an_error():
    with pytest.raises(ValueError, match="one for each of"):
        spread_blue.torus_of((4, 4, 4), **{**DEFAULT, "weights": (1.0,) * 4})


@pytest.mark.parametrize(
    "sigma, says", [(0.0, "above 0"), (float("nan"), "above 0"), (0.1, "no noise")]
)
def test_impossible_sigmas_are_errors(sigma, says):
    with pytest.raises(ValueError, match=says):
        spread_blue.high_pass(jax.random.split(jax.random.key(0), 1), (4, 4), sigma)
