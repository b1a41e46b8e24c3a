"""I-JEPA's masks: targets apart from the context, rectangles of one size, every token in use."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from maskmim.config.facts import facts_of
from maskmim.mask_tools.statistics import visible_map
from maskmim.masks.core import MaskError
from maskmim.masks.multiblock import context_and_targets, counts
from maskmim.types import Context, Randomness

BATCH = 1500


@functools.partial(jax.jit, static_argnames=("grid", "options"))
def draw(randomness, grid, options=()):
    return context_and_targets(randomness, Context({}, {"tokens": grid}, {}), **dict(options))


@functools.cache
def masks(grid, options=(), batch=BATCH):
    result = draw(Randomness.of(jax.random.key(3), batch), grid, options)
    return jax.tree.map(np.asarray, result)


@pytest.mark.parametrize(
    "grid, options, expected",
    [
        ((14, 14), (), (45, 34)),
        # Two small targets that seldom overlap, so that nearly every context is the smallest.
        ((7, 11), (("targets", 2), ("target_scale", (0.1, 0.1))), (55, 8)),
        ((4, 6, 5), (), (27, 21)),
    ],
)
def test_counts_are_exact_and_targets_are_apart_from_the_context(grid, options, expected):
    drawn_masks = masks(grid, options)
    tokens = np.prod(grid)
    assert len(drawn_masks) == dict(options).get("targets", 4)
    sizes = {name: value for name, value in options if name != "target_aspect"}
    assert counts(grid, **sizes) == expected
    for mask in drawn_masks:
        assert (mask.visible.shape[1], mask.predict.shape[1]) == expected
        shown = visible_map(mask.visible, (tokens,))
        target = visible_map(mask.predict, (tokens,))
        assert (shown.sum(1) == expected[0]).all() and (target.sum(1) == expected[1]).all()
        assert not (shown & target).any()
        np.testing.assert_array_equal(mask.hidden, ~shown)
        np.testing.assert_array_equal(mask.visible, drawn_masks[0].visible)
        np.testing.assert_array_equal(mask.weight, 1.0)


def test_counts_follow_the_grid():
    assert counts((16, 16)) == (57, 45)
    assert counts((40,)) == (9, 7)
    assert facts_of(context_and_targets).counts is counts


def test_targets_are_rectangles_of_the_aspects():
    sides = set()
    for mask in masks((14, 14)):
        for block in visible_map(mask.predict, (14, 14))[:100]:
            rows, columns = np.flatnonzero(block.any(1)), np.flatnonzero(block.any(0))
            box = block[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].ravel()
            assert box.sum() == 34
            # The missing tokens are a run at one side of the first or last row.
            gap = np.flatnonzero(~box)
            assert gap.tolist() in [
                list(range(start, start + len(gap)))
                for start in (
                    0,
                    len(columns) - len(gap),
                    len(box) - len(columns),
                    len(box) - len(gap),
                )
            ]
            sides.add((len(rows), len(columns)))
    # The sides of 34 tokens with aspects from 0.75 to 1.5, rounded up, the last row cut.
    assert sides == {(5, 7), (6, 6), (7, 5)}


def test_targets_of_an_example_and_of_examples_are_independent():
    first, second = (visible_map(mask.predict, (14, 14)) for mask in masks((14, 14))[:2])
    same = (first == second).all((1, 2)).mean()
    assert same < 0.02
    together = (first & second).mean()
    assert together == pytest.approx((first.mean(0) * second.mean(0)).mean(), rel=0.05)


def test_every_token_is_seen_and_predicted():
    drawn_masks = masks((14, 14))
    seen = visible_map(drawn_masks[0].visible, (14, 14)).mean(0)
    predicted = visible_map(drawn_masks[0].predict, (14, 14)).mean(0)
    assert seen.min() > 0.02 and predicted.min() > 0.002
    for rim in (seen, seen.T, predicted, predicted.T):
        assert rim[0].mean() == pytest.approx(rim[-1].mean(), rel=0.15)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"targets": 0}, "at least one block"),
        ({"targets": 6}, "cover the whole context"),
        ({"target_scale": (0.2, 0.1)}, "target_scale"),
        ({"context_scale": (0.9, 1.1)}, "context_scale"),
        ({"target_aspect": (0.0, 1.0)}, "aspect"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(options, words):
    with pytest.raises(MaskError, match=words):
        draw(Randomness.of(jax.random.key(0), 2), (14, 14), tuple(options.items()))
