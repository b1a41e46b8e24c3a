"""Masks by region: the hidden share of each region, against FSFM's official masks.

region_fsfm.npz holds the official code's masks, see tests/golden/masks/region_record.py.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2, chisquare

from maskmim.mask_tools.statistics import coverage_chi_square
from maskmim.masks import regions
from maskmim.masks.core import MaskError
from maskmim.masks.region_maps import face_members
from maskmim.types import Context, Mask, Randomness
from tests.running import ROOT
from tests.tolerances import SIGNIFICANCE

pytestmark = pytest.mark.full

GRID = (14, 14)
COUNT = 64


@functools.cache
def official_masks() -> dict[str, np.ndarray]:
    """Return maps [4, 112, 112], covered and hidden tokens bool[6 candidates, 4 maps, 196]."""
    with np.load(ROOT / "tests/golden/masks/region_fsfm.npz") as stored:
        bits = {name: stored[name] for name in ("covered", "hidden")}
        maps = stored["maps"]
    bits = {name: np.unpackbits(bit, axis=-1, count=196) for name, bit in bits.items()}
    return {"maps": maps} | {name: bit.astype(bool) for name, bit in bits.items()}


def label_rows(count: int = COUNT, seed: int = 0) -> np.ndarray:
    """Draw labels i32[count, 196] of six regions of very different sizes, anew in each row."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(6, 0.8), count)
    return np.stack([random.choice(6, 196, p=share) for share in shares]).astype(np.int32)


@functools.partial(jax.jit, static_argnames=("sampler", "grid", "options"))
def draw(randomness, arrays, *, sampler, grid, options):
    context = Context({}, {"tokens": grid}, arrays)
    return sampler(randomness, context, **dict(options))


def mask_of(sampler, hint_arrays: dict[str, np.ndarray], grid=GRID, **options) -> Mask:
    """Return the mask of a sampler under jit, as numpy arrays."""
    arrays = {name: jnp.asarray(value) for name, value in hint_arrays.items()}
    randomness = Randomness.of(jax.random.key(0), len(next(iter(arrays.values()))))
    static = {"sampler": sampler, "grid": grid, "options": tuple(options.items())}
    return jax.tree.map(np.asarray, draw(randomness, arrays, **static))


def hide(sampler, hint_arrays: dict[str, np.ndarray], grid=GRID, **options) -> np.ndarray:
    """Return hidden tokens bool[B, N] of a sampler under jit."""
    return mask_of(sampler, hint_arrays, grid, **options).hidden


def per_region(chosen: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Count the chosen tokens of each region: i64[B, count]."""
    return (chosen[..., None] & (labels[..., None] == np.arange(count))).sum(1)


@pytest.mark.proves(
    127, "covered region fully hidden and told, the others in proportion within one token"
)
def test_one_region_is_covered_and_the_others_keep_their_rate():
    ratio = 0.3
    labels = label_rows()
    mask = mask_of(regions.covered, {"labels": labels}, ratio=ratio, regions=6)
    hidden = mask.hidden
    randomness = Randomness.of(jax.random.key(0), COUNT)
    region = np.asarray(regions.covered_region(randomness, regions=6))
    np.testing.assert_array_equal(mask.covered, (labels == region[:, None]) & hidden)
    sizes, hidden_counts = (per_region(each, labels, 6) for each in (np.ones_like(hidden), hidden))
    budget = round(196 * ratio)
    assert (hidden.sum(1) == budget).all()
    rows = np.arange(COUNT)
    cover = sizes[rows, region]
    np.testing.assert_array_equal(hidden_counts[rows, region], np.minimum(cover, budget))
    rate = np.maximum(budget - cover, 0) / np.maximum(196 - cover, 1)
    sizes[rows, region] = hidden_counts[rows, region] = 0
    assert (abs(hidden_counts - sizes * rate[:, None]) < 1).all()
    assert (cover > budget).any() and (cover < budget).any()


def test_every_candidate_is_covered_equally_often():
    randomness = Randomness.of(jax.random.key(3), 3000)
    region = np.asarray(regions.covered_region(randomness, regions=8, candidates=(1, 4, 7)))
    counts = np.bincount(region, minlength=8)
    assert counts[[1, 4, 7]].sum() == 3000
    assert chisquare(counts[[1, 4, 7]]).pvalue > SIGNIFICANCE


def official_regions() -> tuple[np.ndarray, np.ndarray]:
    """Return members bool[4, 196, 8] and each token's region i64[6, 4, 196] per candidate."""
    members = np.asarray(face_members(jnp.asarray(official_masks()["maps"], jnp.int32), (8, 8)))
    order = [np.concatenate([[each], np.delete(np.arange(8), each)]) for each in range(6)]
    return members, np.stack([each[members[..., each].argmax(-1)] for each in order])


@pytest.mark.proves(127, "face regions and covered tokens are the official ones")
def test_face_regions_are_the_official_ones():
    members, _ = official_regions()
    np.testing.assert_array_equal(np.moveaxis(members[..., :6], -1, 0), official_masks()["covered"])
    assert (members.sum(-1) > 1).any() and members.any(-1).all()


@pytest.mark.proves(127, "as many tokens of each region hidden as by the official code")
def test_counts_by_region_are_the_official_ones():
    members, labels = official_regions()
    rows = np.arange(120) % 4
    mask = mask_of(regions.covered_overlapping, {"members": members[rows]}, ratio=0.75)
    hidden = mask.hidden
    region = np.asarray(regions.covered_region(Randomness.of(jax.random.key(0), 120)))
    labels, covered, official = (
        each[region, rows]
        for each in (labels, official_masks()["covered"], official_masks()["hidden"])
    )
    np.testing.assert_array_equal(mask.covered, covered & hidden)
    np.testing.assert_array_equal(hidden.sum(1), 147)
    budget = 147 - covered.sum(1)
    large = budget <= 0
    assert large.any() and not (hidden & ~covered)[large].any()
    assert (hidden | ~covered)[~large].all()
    total = 196 - covered.sum(1)
    products = per_region(~covered, labels, 8) * budget[:, None]
    rounded = np.round(products / total[:, None]).sum(1)
    halves = (2 * (products % total[:, None]) == total[:, None]).sum(1)
    off = abs(per_region(hidden, labels, 8) - per_region(official, labels, 8)).sum(1)
    # The official code places surplus or missing tokens anywhere; it rounds halves to even numbers.
    left = (2 * abs(rounded - budget) + halves)[~large]
    assert (left == 0).any() and (off[~large] <= left).all()


SHARE_OUT = jax.jit(regions.apportion)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 400), min_size=7, max_size=7), st.floats(0, 1), st.integers(0, 99))
def test_a_budget_is_divided_within_one_of_exact(sizes, share, seed):
    sizes = np.array(sizes, np.int32)
    budget = np.int32(round(share * sizes.sum()))
    ties = np.random.RandomState(seed).rand(7).astype(np.float32)
    parts = np.asarray(SHARE_OUT(sizes, budget, ties))
    assert parts.sum() == budget
    assert (abs(parts - sizes * (budget / max(sizes.sum(), 1))) < 1).all()
    assert (parts >= 0).all() and (parts <= sizes).all()


def test_no_tokens_need_no_budget():
    parts = SHARE_OUT(np.zeros(7, np.int32), np.int32(0), np.zeros(7, np.float32))
    np.testing.assert_array_equal(parts, 0)


def test_proportional_hides_the_same_share_of_every_region():
    labels = label_rows()
    hidden = hide(regions.proportional, {"labels": labels}, ratio=0.6, regions=6)
    sizes = per_region(np.ones_like(hidden), labels, 6)
    assert (hidden.sum(1) == 118).all()
    assert (abs(per_region(hidden, labels, 6) - sizes * 118 / 196) < 1).all()


def test_equal_regions_lose_the_odd_token_equally_often():
    labels = np.broadcast_to(np.arange(36) // 9, (4000, 36))
    hidden = hide(regions.proportional, {"labels": labels}, grid=(6, 6), ratio=0.75, regions=4)
    statistic, degrees = coverage_chi_square(~hidden.reshape(-1, 6, 6))
    assert chi2.sf(statistic, degrees) > SIGNIFICANCE


def test_whole_regions_are_hidden_but_the_last():
    labels = label_rows(600)
    hidden = hide(regions.whole, {"labels": labels}, ratio=0.5, regions=6)
    sizes, hidden_counts = (per_region(each, labels, 6) for each in (np.ones_like(hidden), hidden))
    partly = (hidden_counts > 0) & (hidden_counts < sizes)
    assert (hidden.sum(1) == 98).all() and (partly.sum(1) <= 1).all() and partly.any()


def test_whole_takes_regions_in_a_random_order():
    labels = np.broadcast_to(np.arange(30) // 5, (1200, 30))
    hidden = hide(regions.whole, {"labels": labels}, grid=(30,), ratio=1 / 6, regions=6)
    first = per_region(hidden, labels, 6)
    assert np.isin(first, [0, 5]).all()
    assert chisquare((first == 5).sum(0)).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("sampler", [regions.covered, regions.proportional, regions.whole])
def test_tokens_without_a_known_label_are_one_more_region(sampler):
    labels = np.where(np.arange(196) % 3 == 0, 0, np.where(np.arange(196) % 2, -1, 99))
    labels = np.broadcast_to(labels, (8, 196))
    options = {"candidates": (0,)} if sampler is regions.covered else {}
    hidden = hide(sampler, {"labels": labels}, ratio=0.5, regions=2, **options)
    assert (hidden.sum(1) == 98).all()
    if sampler is regions.covered:
        assert hidden[:, ::3].all()


@pytest.mark.parametrize("candidates", [(), (0, 6), (-1,)])
def test_candidates_that_are_no_labels_are_refused(candidates):
    with pytest.raises(MaskError, match="labels from 0 to 5"):
        hide(
            regions.covered,
            {"labels": label_rows(2)},
            ratio=0.5,
            regions=6,
            candidates=candidates,
        )


def objects(share: float) -> np.ndarray:
    """Draw labels i32[COUNT, 196]: 1 and 2 for tokens of objects, 0 and 3 for the background."""
    random = np.random.default_rng(1)
    inside = random.random((COUNT, 196)) < share
    return np.where(inside, random.integers(1, 3, inside.shape), 3 * (random.random() < 0.5))


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_objects_are_hidden_first_but_for_hints(share):
    labels = objects(share)
    inside = np.isin(labels, (1, 2))
    options = {"objects": (1, 2), "hints": 0.2}
    hidden = hide(regions.object_first, {"labels": labels}, ratio=0.75, **options)
    shown = (inside & ~hidden).sum(1)
    hints = np.round(0.2 * inside.sum(1))
    np.testing.assert_array_equal(hidden.sum(1), 147)
    # Where objects alone exceed the budget more of them stay visible, and all of the background.
    enough = inside.sum(1) - hints <= 147
    assert enough.all() if share < 0.5 else not enough.all()
    np.testing.assert_array_equal(shown[enough], hints[enough])
    assert not (hidden & ~inside)[~enough].any()


def test_hints_are_any_tokens_of_the_object():
    labels = np.broadcast_to((np.arange(40) < 20).astype(np.int32), (2000, 40))
    hidden = hide(regions.object_first, {"labels": labels}, grid=(40,), ratio=0.5, hints=0.2)
    shown = (~hidden[:, :20]).sum(0)
    assert shown.sum() == 4 * 2000
    pvalues = [binomtest(int(each), 2000, 0.2).pvalue for each in shown]
    assert min(pvalues) > SIGNIFICANCE / 20


def test_hints_are_hidden_where_the_background_is_too_small():
    labels = np.ones((4, 196), np.int32)
    hidden = hide(regions.object_first, {"labels": labels}, ratio=0.75, hints=0.5)
    np.testing.assert_array_equal(hidden.sum(1), 147)


@pytest.mark.parametrize("hints", [-0.1, 1.1])
def test_a_share_of_hints_is_between_none_and_all(hints):
    with pytest.raises(MaskError, match="from 0 to 1"):
        hide(regions.object_first, {"labels": objects(0.5)}, ratio=0.5, hints=hints)


def test_background_first_leaves_objects_alone():
    labels = objects(0.3)
    inside = np.isin(labels, (1, 2))
    hidden = hide(regions.background_first, {"labels": labels}, ratio=0.5, objects=(1, 2))
    assert not (hidden & inside).any() and (hidden.sum(1) == 98).all()
    hidden = hide(regions.background_first, {"labels": labels}, ratio=0.9, objects=(1, 2))
    assert hidden[~inside].all() and (hidden.sum(1) == 176).all()
