"""Masks for spectrograms. Official masks: tests/golden/masks/video_record.py."""

import itertools

import jax
import numpy as np
import pytest
from scipy.stats import chisquare

from maskmim.mask_tools.statistics import coverage_p_value
from maskmim.masks import audio
from maskmim.masks.core import MaskError
from tests.masks.video_clips import OFFICIAL, draw, official_bits
from tests.tolerances import SIGNIFICANCE

GRID = (64, 8)
draw_chunks = jax.jit(audio.random_chunks, static_argnums=(1, 2, 3))


def hidden_maps(sampler, grid=GRID, count=4, **options):
    return draw(sampler, grid, count=count, **options).hidden.reshape(count, *grid)


@pytest.mark.proves(12, "masks of time and frequency are the official ones, given the noise")
def test_time_and_frequency_masks_are_the_official_ones():
    def largest(noise, kept):
        return np.argsort(np.argsort(noise, axis=1), axis=1) >= kept

    steps, bands = largest(OFFICIAL["audio_time"], 25), largest(OFFICIAL["audio_mel"], 4)
    mask = audio.hide_steps_and_bands(steps, bands, count=412)
    np.testing.assert_array_equal(mask.hidden, official_bits("audio_mask"))
    np.testing.assert_array_equal(mask.visible.shape, (2, 100))


@pytest.mark.parametrize(("sampler", "axis"), [(audio.time, 0), (audio.frequency, 1)])
def test_whole_time_steps_or_whole_bands_are_hidden(sampler, axis):
    hidden = hidden_maps(sampler, (10, 6), count=1500, ratio=0.7)
    slices = hidden.any(2 - axis)
    np.testing.assert_array_equal(slices, hidden.all(2 - axis))
    np.testing.assert_array_equal(slices.sum(1), round(0.7 * (10, 6)[axis]))
    assert coverage_p_value(slices) > SIGNIFICANCE


def test_time_and_frequency_are_hidden_independently():
    hidden = hidden_maps(audio.time_frequency, (8, 6), count=1500, ratio=0.6)
    steps, bands = hidden.all(2), hidden.all(1)
    np.testing.assert_array_equal(hidden, steps[:, :, None] | bands[:, None])
    kept_steps, kept_bands = audio.kept_slices((8, 6), ratio=0.6)
    assert (kept_steps, kept_bands) == (5, 4)
    np.testing.assert_array_equal(hidden.sum((1, 2)), 48 - kept_steps * kept_bands)
    assert coverage_p_value(steps) > SIGNIFICANCE and coverage_p_value(bands) > SIGNIFICANCE
    both = np.corrcoef(np.concatenate([steps, bands], 1).T)[:8, 8:]
    assert abs(both).max() < 4.5 / 1500**0.5


@pytest.mark.parametrize("grid", [(64, 8), (14, 14), (7, 11), (1, 512), (32, 4)])
def test_kept_slices_come_close_to_the_ratio_in_about_equal_shares(grid):
    steps, bands = grid
    for ratio in np.arange(0.05, 0.96, 0.05):
        kept = audio.kept_slices(grid, ratio=ratio)
        visible, hidden = audio.product_counts(grid, ratio=ratio)
        assert visible == kept[0] * kept[1] and visible + hidden == steps * bands
        assert abs(visible - (1 - ratio) * steps * bands) <= min(kept) / 2 + 1 or 1 in kept
        if min(grid) > 1:
            assert abs(kept[0] / steps - kept[1] / bands) < 2 / min(grid)
    assert audio.kept_slices((64, 8), ratio=0.8) == (26, 4)
    assert audio.kept_slices((64, 8), ratio=0.36) == (55, 6)


def runs(row):
    return int(np.diff(row.astype(int), prepend=0).clip(0).sum())


def test_chunks_are_contiguous_and_as_many_as_asked():
    hidden = hidden_maps(audio.chunks, count=64, ratio=0.6, time_chunks=3, mel_chunks=1)
    steps, bands = hidden.all(2), hidden.all(1)
    np.testing.assert_array_equal(hidden, steps[:, :, None] | bands[:, None])
    assert {runs(row) for row in steps} == {3} and {runs(row) for row in bands} == {1}
    np.testing.assert_array_equal(hidden.sum((1, 2)), audio.product_counts(GRID, ratio=0.6)[1])


def test_every_arrangement_of_chunks_is_equally_likely():
    keys = jax.random.split(jax.random.key(3), 3000)
    rows = np.asarray(draw_chunks(keys, 7, 4, 2))
    codes = rows @ 2 ** np.arange(7)
    every = [np.array(row) for row in itertools.product((0, 1), repeat=7) if sum(row) == 4]
    expected = [row @ 2 ** np.arange(7) for row in every if runs(row) == 2]
    assert set(codes) == set(expected) and len(expected) == 18
    counts = [(codes == code).sum() for code in expected]
    assert chisquare(counts).pvalue > SIGNIFICANCE


def test_more_chunks_than_fit_are_as_many_as_fit():
    keys = jax.random.split(jax.random.key(0), 20)
    for hidden, expected in ((0, 0), (6, 3)):
        rows = np.asarray(draw_chunks(keys, 8, hidden, 5))
        assert {runs(row) for row in rows} == {expected} and (rows.sum(1) == hidden).all()


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(MaskError, match=r"0\.95 of 8 mel bands hides 8"):
        audio.frequency_counts((64, 8), ratio=0.95)
    with pytest.raises(MaskError, match="leaves 0 tokens visible"):
        audio.product_counts((4, 4), ratio=0.99)
    with pytest.raises(MaskError, match="leaves 16 tokens visible"):
        audio.product_counts((4, 4), ratio=0.01)
    with pytest.raises(MaskError, match=r"needs \(time, mel\)"):
        audio.time_counts((4, 4, 4), ratio=0.5)
    with pytest.raises(MaskError, match="at least one on each axis"):
        draw(audio.chunks, GRID, count=1, ratio=0.5, time_chunks=0)
