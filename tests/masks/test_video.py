"""Masks for clips. The official tube: tests/golden/masks/video_record.py."""

import numpy as np
import pytest

from maskmim.mask_tools.statistics import coverage_p_value
from maskmim.masks import uniform, video
from maskmim.masks.core import MaskError
from maskmim.masks.slices import hide_slices
from tests.masks.video_clips import GRID, draw, official_bits
from tests.tolerances import SIGNIFICANCE


def hidden_maps(sampler, grid=GRID, count=4, **options):
    return draw(sampler, grid, count=count, **options).hidden.reshape(count, *grid)


@pytest.mark.proves(21, "a tube hides the same 176 of 196 places in all time steps")
def test_a_tube_hides_the_same_places_at_all_times():
    hidden = hidden_maps(video.tube, count=600, ratio=0.9)
    np.testing.assert_array_equal(hidden, np.broadcast_to(hidden[:, :1], hidden.shape))
    np.testing.assert_array_equal(hidden[:, 0].sum((1, 2)), int(0.9 * 196))
    assert video.tube_counts(GRID, ratio=0.9) == (160, 1408)
    assert coverage_p_value(hidden[:, 0]) > SIGNIFICANCE


@pytest.mark.proves(21, "the mask is the official one, given the same places")
def test_a_tube_is_the_official_one_given_its_places():
    official = official_bits("tube")[:, :196]
    mask = hide_slices(official[:1], GRID, (1, 2), hidden=176)
    np.testing.assert_array_equal(mask.hidden[0], official.reshape(-1))


def leaks(hidden):
    """Return the share of hidden tokens whose place is visible one time step before."""
    return (hidden[:, 1:] & ~hidden[:, :-1]).sum() / hidden[:, 1:].sum()


@pytest.mark.proves(
    21, "no hidden place can be copied from the frame before, under random 10 % can"
)
def test_tubes_leave_nothing_to_copy_from_the_frame_before():
    assert leaks(hidden_maps(video.tube, count=16, ratio=0.9)) == 0
    agnostic = leaks(hidden_maps(uniform.random, count=16, ratio=0.9))
    assert agnostic == pytest.approx(0.1, abs=0.01)


def test_whole_frames_are_hidden_equally_often():
    hidden = hidden_maps(video.frame, (8, 2, 3), count=1500, ratio=0.6)
    frames = hidden.all((2, 3))
    np.testing.assert_array_equal(frames, hidden.any((2, 3)))
    np.testing.assert_array_equal(frames.sum(1), 5)
    assert coverage_p_value(frames) > SIGNIFICANCE
    assert video.frame_counts(GRID, ratio=0.9) == (196, 7 * 196)


def test_the_future_is_hidden_and_the_past_visible():
    hidden = hidden_maps(video.causal_frame, (8, 2, 3), count=2, ratio=0.75)
    assert not hidden[:, :2].any() and hidden[:, 2:].all()


@pytest.mark.proves(91, "context frames are never hidden, a share of the future tokens is")
def test_context_is_never_hidden_and_future_tokens_are_hidden_equally_often():
    grid = (4, 3, 3)
    hidden = hidden_maps(video.future_tokens, grid, count=1500, ratio=0.7, context_steps=2)
    assert not hidden[:, :2].any()
    np.testing.assert_array_equal(hidden.sum((1, 2, 3)), round(0.7 * 18))
    assert coverage_p_value(hidden[:, 2:]) > SIGNIFICANCE
    counts = video.future_counts(grid, ratio=0.7, context_steps=2)
    assert counts == (36 - 13, 13)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(MaskError, match=r"0\.95 of 8 time steps"):
        video.frame_counts(GRID, ratio=0.95)
    with pytest.raises(MaskError, match="context_steps 8 of 8"):
        video.future_counts(GRID, ratio=0.5, context_steps=8)
    with pytest.raises(MaskError, match=r"needs \(time, rows, columns\)"):
        video.tube_counts((14, 14), ratio=0.9)
