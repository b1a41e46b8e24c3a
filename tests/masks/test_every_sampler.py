"""The promises of every sampler of the package; new samplers are tested without a line here."""

from __future__ import annotations

import inspect
import math

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskmim.config.bricks import hyperparameters
from maskmim.config.facts import facts_of
from maskmim.mask_tools.discovery import samplers
from maskmim.masks.core import MaskError, split_counts
from tests.masks.every import (
    HINTS,
    SLOTS,
    _draw,
    cases,
    draw,
    everyday_cases,
    main_grid,
    standalone_samplers,
)

pytestmark = pytest.mark.full

# Samplers whose mask is intentionally the same for every example.
DETERMINISTIC = {"roles.everything", "uniform.shared", "video.causal_frame"}
# Below half, two views are neither disjoint nor cover the grid; 0.02 is for rounding.
LEAST = {"views.disjoint": 0.52, "views.covering": 0.52}
RATIOS = st.floats(0.05, 0.95)
SETTINGS = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.too_slow],
}


def names(each) -> str:
    sampler, *rest = each if isinstance(each, tuple) and not hasattr(each, "takes") else (each,)
    return "-".join([sampler.name, *("x".join(map(str, grid)) for grid in rest)])


def check_mask(mask, length: int) -> None:
    """Check that places ascend within range and that tokens outside the encoder are hidden."""
    for places in (mask.visible, mask.predict):
        assert places.dtype == np.int32
        assert ((places >= 0) & (places < length)).all()
        assert (np.diff(places, axis=1) > 0).all()
    assert mask.hidden.shape == (len(mask.visible), length) and mask.hidden.dtype == bool
    assert mask.weight.shape == mask.predict.shape and mask.weight.dtype == np.float32
    seen = np.zeros_like(mask.hidden)
    np.put_along_axis(seen, mask.visible, True, axis=1)
    assert (seen | mask.hidden).all()
    if mask.covered is not None:
        assert mask.covered.dtype == bool and not (mask.covered & ~mask.hidden).any()


def check_counts(sampler, masks, grid, ratio: float) -> None:
    """Check the declared counts; else the exact split with every hidden token predicted."""
    counts = facts_of(sampler.function).counts
    if counts:
        stated = counts(grid, **({"ratio": ratio} if "ratio" in sampler.takes else {}))
        pairs = stated if isinstance(stated[0], tuple) else (stated,) * len(masks)
        for mask, pair in zip(masks, pairs, strict=True):
            assert (mask.visible.shape[1], mask.predict.shape[1]) == tuple(pair)
        return
    visible, hidden = split_counts(math.prod(grid), ratio)
    for mask in masks:
        assert (mask.visible.shape[1], mask.predict.shape[1]) == (visible, hidden)
        assert (mask.hidden.sum(1) == hidden).all()
        assert np.take_along_axis(mask.hidden, mask.predict, axis=1).all()
        np.testing.assert_array_equal(mask.weight, 1.0)


def check_promises(sampler, grid, ratio: float, seed: int, slots: list[int]) -> None:
    first = draw(sampler, grid, ratio=ratio, seed=seed, slots=range(len(slots)))
    for mask in first:
        check_mask(mask, math.prod(grid))
    check_counts(sampler, first, grid, ratio)
    again = draw(sampler, grid, ratio=ratio, seed=seed, slots=slots)
    for one, other in zip(first, again, strict=True):
        for place, slot in enumerate(slots):
            if slot < len(slots):
                for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
                    np.testing.assert_array_equal(a[slot], b[place])


def promise_or_refuse(sampler, grid, ratio: float, seed: int, slots: list[int]) -> None:
    try:
        check_promises(sampler, grid, ratio, seed, slots)
    except MaskError as error:
        if grid == main_grid(sampler) and LEAST.get(sampler.name, 0.3) <= ratio <= 0.8:
            raise
        assert len(str(error)) > 40, "an error message names the cause and the way out"


SOME_SLOTS = st.permutations(range(SLOTS)).map(lambda order: order[:4])


@pytest.mark.parametrize("case", everyday_cases(), ids=names)
@settings(max_examples=1, **SETTINGS)
@given(ratio=RATIOS, seed=st.integers(0, 2**31), slots=SOME_SLOTS)
def test_promises_hold(case, ratio, seed, slots):
    promise_or_refuse(*case, ratio, seed, slots)


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(), ids=names)
@settings(max_examples=3, **SETTINGS)
@given(ratio=RATIOS, seed=st.integers(0, 2**31), slots=SOME_SLOTS)
def test_promises_hold_on_every_grid_at_several_ratios(case, ratio, seed, slots):
    promise_or_refuse(*case, ratio, seed, slots)


@pytest.mark.parametrize("sampler", standalone_samplers(), ids=names)
def test_a_sampler_serves_its_main_grid(sampler):
    """It draws at 75 %, examples differ, a batch in two parts is the same batch, another key gives
    other masks and does not trace again."""
    grid = main_grid(sampler)
    whole = draw(sampler, grid, ratio=0.75, slots=range(SLOTS))
    traced = _draw._cache_size()
    other = draw(sampler, grid, ratio=0.75, slots=range(SLOTS), seed=1)
    assert _draw._cache_size() == traced
    parts = [draw(sampler, grid, ratio=0.75, slots=part) for part in (range(6), range(6, SLOTS))]
    for place, mask in enumerate(whole):
        joined = jax.tree.map(lambda *each: np.concatenate(each), *(part[place] for part in parts))
        jax.tree.map(np.testing.assert_array_equal, mask, joined)
    if sampler.name in DETERMINISTIC:
        return
    hidden = np.concatenate([mask.hidden for mask in whole], axis=1)
    assert len(np.unique(hidden, axis=0)) > 1
    if not sampler.needs:
        assert (hidden != np.concatenate([mask.hidden for mask in other], axis=1)).any()


ASKED = [each for each in standalone_samplers() if "ratio" in each.takes and not each.views]


@pytest.mark.parametrize("sampler", ASKED, ids=names)
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_ratio_that_leaves_nothing_is_an_error(sampler, ratio):
    with pytest.raises(MaskError):
        draw(sampler, main_grid(sampler), ratio=ratio, slots=range(2))


def test_every_sampler_says_what_it_is():
    every = samplers()
    assert len(every) == len({each.name for each in every}) > 5
    for each in every:
        assert each.summary.endswith("."), each.name
        assert set(each.needs) <= set(HINTS), (
            f"{each.name}: make up the hint in tests/masks/every.py"
        )
        assert set(each.axes) <= {1, 2, 3}, each.name


def test_declared_counts_take_every_keyword_of_their_sampler():
    for sampler in samplers():
        if counts := facts_of(sampler.function).counts:
            keywords = hyperparameters(sampler.function)
            inspect.signature(counts).bind(main_grid(sampler), **dict.fromkeys(keywords))


@pytest.mark.parametrize("sampler", standalone_samplers(), ids=names)
def test_a_grid_with_other_axes_is_refused(sampler):
    for axes, grid in {1: (64,), 2: (8, 8), 3: (4, 4, 4)}.items():
        if axes not in sampler.axes:
            with pytest.raises(MaskError):
                draw(sampler, grid, ratio=0.5, slots=range(2))
