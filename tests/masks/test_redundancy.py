"""Masks by redundancy. EVEREST's tokens: tests/golden/masks/video_record.py."""

import jax
import numpy as np
import pytest

from maskmim.mask_tools.statistics import coverage_p_value
from maskmim.masks import redundancy
from maskmim.masks.core import MaskError
from maskmim.types import Context, Randomness
from tests.masks.video_clips import GRID, draw, official_bits, pixels, square
from tests.tolerances import SIGNIFICANCE

SIDE = 7.5


def kept_tokens(mask):
    kept = np.zeros_like(mask.hidden)
    for places in (mask.visible, mask.predict):
        np.put_along_axis(kept, places, True, axis=1)
    return kept


def patch_features(clip):
    """Return the pixels of each token of 2 x 4 x 4 pixels: f32[B, N, 32]."""
    cubes = clip.reshape(-1, 8, 2, 14, 4, 14, 4)
    return cubes.transpose(0, 1, 3, 5, 2, 4, 6).reshape(len(clip), -1, 32)


@pytest.mark.proves(53, "the kept tokens are the official ones, given the features")
def test_kept_tokens_are_the_official_ones():
    features = np.random.RandomState(0).standard_normal((2, 1568, 4)).astype(np.float32)
    official = ~official_bits("everest_unshown") | ~official_bits("everest_unpredicted")
    np.testing.assert_array_equal(official.sum(1), 470)
    # 470 tokens as in the official code: 157 visible ones, and 313 instead of 314 predicted.
    hints = {"features": features}
    mask = draw(redundancy.tokens, count=2, hints=hints, ratio=0.9, predicted=313 / 1568)
    np.testing.assert_array_equal(kept_tokens(mask), official)


@pytest.mark.proves(53, "of the kept tokens, more than 80 % lie where something moves")
def test_kept_tokens_lie_where_something_moves():
    starts = np.array([[0.2, 0.1], [6.4, 0.3], [0.4, 6.3], [6.2, 6.4]])
    moving = square(starts, starts[::-1], SIDE)
    edges = np.arange(14)
    rows, columns = (
        (edges < moving.corners[:, :, axis, None] + SIDE) & (edges + 1 > corner[..., None])
        for axis, corner in enumerate(np.moveaxis(moving.corners, -1, 0))
    )
    touched = rows[..., None] & columns[:, :, None]
    changed = touched[:, 1:] | touched[:, :-1]
    changed = np.concatenate([changed[:, :1], changed], axis=1).reshape(4, -1)
    hints = {"features": patch_features(pixels(moving, SIDE))}
    mask = draw(redundancy.tokens, count=4, hints=hints, ratio=0.9)
    kept = kept_tokens(mask)
    precision = (kept & changed).sum(1) / kept.sum(1)
    assert (precision > 0.8).all() and changed.mean() < 0.5, (precision, changed.mean())


def test_visible_tokens_are_a_random_part_of_the_kept_ones():
    features = np.zeros((1500, 27, 1), np.float32)
    features[:, 9:18] = np.arange(9)[:, None]
    hints = {"features": features}
    mask = draw(
        redundancy.tokens, (3, 3, 3), count=1500, hints=hints, ratio=23 / 27, predicted=5 / 27
    )
    kept = kept_tokens(mask)
    # Change is 0 to 8 at all time steps: the largest three, three times.
    expected = np.tile(np.arange(9) >= 6, 3)
    np.testing.assert_array_equal(kept, np.broadcast_to(expected, kept.shape))
    np.testing.assert_array_equal(mask.hidden.sum(1), 23)
    assert np.take_along_axis(mask.hidden, mask.predict, axis=1).all()
    assert coverage_p_value(~mask.hidden[:, expected]) > SIGNIFICANCE


@pytest.mark.proves(53, "with nothing discarded the mask is a random one")
def test_with_nothing_discarded_the_mask_is_random():
    features = np.random.RandomState(0).standard_normal((1, 18, 2)).astype(np.float32)
    hints = {"features": np.repeat(features, 1500, axis=0)}
    mask = draw(redundancy.tokens, (2, 3, 3), count=1500, hints=hints, ratio=0.6, predicted=0.6)
    assert kept_tokens(mask).all()
    assert coverage_p_value(mask.hidden) > SIGNIFICANCE


def test_counts_say_what_is_left_out():
    assert redundancy.tokens_counts(GRID, ratio=0.9) == (157, 314)
    with pytest.raises(MaskError, match="at most the mask ratio"):
        redundancy.tokens_counts(GRID, ratio=0.1)
    with pytest.raises(MaskError, match="needs at least two"):
        hints = {"features": np.zeros((1, 9, 2), np.float32)}
        draw(redundancy.tokens, (1, 3, 3), count=1, hints=hints, ratio=0.9)


@pytest.mark.proves(104, "segments least similar to the one before stay visible, the first always")
def test_segments_unlike_the_one_before_stay_visible():
    random = np.random.RandomState(0)
    scenes = random.standard_normal((4, 8, 16)) + 1
    starts = np.array([0, 3, 9, 17, 22, 30, 41, 44])
    scene = np.searchsorted(starts, np.arange(64), side="right") - 1
    features = scenes[:, scene] + 0.1 * random.standard_normal((4, 64, 16))
    hints = {"features": features.astype(np.float32)}
    mask = draw(redundancy.segments, (64,), count=4, hints=hints, ratio=56 / 64)
    np.testing.assert_array_equal(mask.visible, np.broadcast_to(starts, (4, 8)))


def test_similarity_is_the_cosine():
    features = np.float32([[[3, 0], [0, 2], [0, 5], [1, 1], [-1, -1]]])
    context = Context({}, {"segments": (5,)}, {"features": features})
    similarity = redundancy.segments_scores(Randomness.of(jax.random.key(0), 1), context)
    np.testing.assert_allclose(similarity, [[0, 0, -1, -(0.5**0.5), 1]], atol=1e-6)
