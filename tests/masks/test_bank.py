"""The bank procedure: equality with the official code, and the images that share a draw."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.describe import needs_of
from maskmim.mask_tools.statistics import visible_map
from maskmim.masks.bank import bank_masks, bank_windows, cropped
from maskmim.types import Context, Randomness
from tests.masks.bank_cases import PER_SHAPE, SHAPES, Case, all_cases, make_case, ours
from tests.running import ROOT

pytestmark = pytest.mark.full

GOLDEN = ROOT / "tests/golden/colormae_bank/values.npz"


def restated_procedure(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Restate the official procedure by chunks in numpy: (windows, hidden, ids_keep)."""
    count, parts, left = len(case.bank), [], case.batch
    for top, first, across, down in case.turns:
        block = case.bank[:, top : top + case.width, first : first + case.width]
        block = block[:, :, ::-1] if across else block
        block = block[:, ::-1] if down else block
        block = block / block.reshape(count, -1).max(1)[:, None, None]
        parts.append(block[: min(count, left)])
        left -= len(parts[-1])
    windows = np.concatenate(parts)
    flat = windows.reshape(len(windows), -1)
    keep = int(flat.shape[1] * (1 - case.ratio))
    order = np.argsort(-flat, axis=1, kind="stable")[:, :keep]
    hidden = np.ones(flat.shape, bool)
    np.put_along_axis(hidden, order, False, axis=1)
    return windows, hidden, order


@pytest.mark.proves(1, "the bank procedure equals the official one in 1,000 random cases")
def test_a_thousand_cases_equal_the_restated_procedure():
    equal = negative = 0
    for case in all_cases():
        expected, actual = restated_procedure(case), ours(case)
        equal += all(np.array_equal(a, b) for a, b in zip(expected, actual, strict=True))
        negative += case.has_negative_window
    assert equal == len(SHAPES) * PER_SHAPE == 1000
    assert negative > 200


@pytest.mark.proves(1, "masks equal those that the official code made")
def test_golden_masks_of_the_official_code():
    with np.load(GOLDEN, allow_pickle=False) as stored:
        numbers = sorted(int(name.split("_")[1]) for name in stored.files if "mask" in name)
        assert len(numbers) == 40
        for number in numbers:
            case = make_case(number)
            _, hidden, keep = ours(case)
            np.testing.assert_array_equal(np.packbits(hidden), stored[f"mask_{number}"])
            np.testing.assert_array_equal(keep, stored[f"keep_{number}"])


def test_windows_without_positive_values_have_their_order_reversed():
    noise = np.random.RandomState(0).standard_normal((1, 14, 14)).astype(np.float32) - 9
    zeros = jnp.zeros((1, 2), jnp.int32)
    arguments = (jnp.asarray(noise), zeros[:, 0], zeros, zeros.astype(bool))
    mask = bank_masks(*arguments, grid=(14, 14), ratio=0.75)
    weakest = np.sort(np.argsort(noise.ravel())[:49])
    np.testing.assert_array_equal(mask.visible[0], weakest)


def test_windows_need_not_be_square():
    bank = jnp.arange(2 * 6 * 8, dtype=jnp.float32).reshape(2, 6, 8) + 1
    windows = bank_windows(
        bank,
        jnp.array([1]),
        jnp.array([[1, 2]]),
        jnp.array([[True, False]]),
        grid=(3, 5),
    )
    expected = np.asarray(bank)[1, 1:4, 2:7][:, ::-1]
    np.testing.assert_allclose(windows[0], expected / expected.max(), rtol=1e-6)


def test_the_published_count_of_visible_tokens_is_ours():
    assert int(196 * (1 - 0.75)) == 196 - round(0.75 * 196) == 49


def draw_maps(
    bank: np.ndarray, grid: tuple[int, int], slots, chunk: int, seed: int = 0
) -> np.ndarray:
    context = Context({}, {"image": grid}, {"noise_bank": jnp.asarray(bank)})
    randomness = Randomness(jax.random.key(seed), jnp.asarray(slots, jnp.uint32))
    mask = jax.jit(functools.partial(cropped, context=context, ratio=0.75, chunk=chunk))(randomness)
    return visible_map(np.asarray(mask.visible), grid)


def ramps(count: int, size: int) -> np.ndarray:
    """Make equal patterns whose windows differ by place: one strong cell in each 4 x 4."""
    rows, columns = np.indices((size, size))
    strength = 1.0 + rows % 4 * 4 + columns % 4
    return np.broadcast_to(strength, (count, size, size)).astype(np.float32)


def test_a_chunk_shares_crop_and_flips_and_chunks_differ():
    shown = draw_maps(ramps(4, 19), (8, 8), range(32), chunk=4)
    chunks = shown.reshape(8, 4, 64)
    assert (chunks == chunks[:, :1]).all()
    assert len(np.unique(chunks[:, 0], axis=0)) > 2


def test_a_chunk_longer_than_the_bank_starts_over_with_another_draw():
    shown = draw_maps(ramps(4, 19), (8, 8), range(64), chunk=64)
    turns = shown.reshape(16, 4, 64)
    assert (turns == turns[:, :1]).all()
    assert len(np.unique(turns[:, 0], axis=0)) > 2


def test_patterns_are_taken_in_order_and_only_as_many_as_a_chunk_holds():
    # A pattern's own cell is its only strong one, in every window: patterns have no room to move.
    bank = np.random.RandomState(1).standard_normal((6, 6, 6)).astype(np.float32)
    for place in range(6):
        bank[place].flat[place] = 100.0
    shown = draw_maps(bank, (6, 6), range(12), chunk=3)
    for slot, each in enumerate(shown):
        place = slot % 3
        row, column = divmod(place, 6)
        corners = [each[r, c] for r in (row, 5 - row) for c in (column, 5 - column)]
        assert any(corners)
    bank[3:] = np.nan
    np.testing.assert_array_equal(draw_maps(bank, (6, 6), range(12), chunk=3), shown)


def test_crops_and_flips_are_uniform():
    rows, columns = np.indices((9, 9))
    bank = (rows * 100.0 + columns + 1).astype(np.float32)[None]
    context_grid, count = (8, 8), 4000
    context = Context({}, {"image": context_grid}, {"noise_bank": jnp.asarray(bank)})
    randomness = Randomness.of(jax.random.key(5), count)
    seen = {}

    def spy(bank, slices, offsets, flips, *, grid, ratio):
        seen.update(offsets=np.asarray(offsets), flips=np.asarray(flips))
        return bank_masks(bank, slices, offsets, flips, grid=grid, ratio=ratio)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maskmim.masks.bank.bank_masks", spy)
        cropped(randomness, context, ratio=0.75, chunk=1)
    decided = np.concatenate([seen["offsets"], seen["flips"]], axis=1)
    kinds, counts = np.unique(decided, axis=0, return_counts=True)
    assert len(kinds) == 16
    # Chi-square with 15 degrees of freedom exceeds 37.7 once in a thousand.
    assert ((counts - count / 16) ** 2 / (count / 16)).sum() < 37.7


def test_grids_that_do_not_fit_are_errors():
    bank = np.ones((2, 10, 10), np.float32)
    with pytest.raises(ValueError, match=r"does not fit into bank patterns of \(10, 10\)"):
        draw_maps(bank, (8, 11), range(2), chunk=2)
    with pytest.raises(ValueError, match="does not fit"):
        draw_maps(bank, (2, 8, 8), range(2), chunk=2)
    with pytest.raises(ValueError, match="chunk 0"):
        draw_maps(bank, (8, 8), range(2), chunk=0)


def test_the_sampler_needs_the_bank():
    assert needs_of(cropped) == ("noise_bank",)
