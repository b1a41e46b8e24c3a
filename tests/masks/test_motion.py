"""Masks that hide what moves, on clips of one square whose motion is known."""

import jax
import numpy as np
import pytest

from maskmim.mask_tools.statistics import coverage_p_value
from maskmim.masks import motion, uniform
from maskmim.masks.core import MaskError
from tests.masks.video_clips import GRID, draw, pixels, random_square, square
from tests.tolerances import SIGNIFICANCE

SIDE = 4
hot_spots = jax.jit(motion.hot_spots)


def hidden_maps(sampler, hints, grid=GRID, **options):
    count = len(next(iter(hints.values())))
    mask = draw(sampler, grid, count=count, hints=hints, **options)
    return mask.hidden.reshape(count, *grid)


def centres(hidden):
    """Return the mean place of the true tokens: bool[B, T, h, w] -> f64[B, T, 2]."""
    places = np.stack(np.indices(hidden.shape[2:]), -1) + 0.5
    return (hidden[..., None] * places).sum((2, 3)) / hidden.sum((2, 3))[..., None]


@pytest.mark.proves(30, "the block's centre stays within a token of what moves, in 90 % of frames")
@pytest.mark.parametrize("pan", [(0.0, 0.0), (0.3, -0.2)])
def test_the_block_follows_what_moves(pan):
    moving = random_square(64, SIDE)
    flow = moving.flow + np.float32(pan) * ~moving.inside[..., None]
    hidden = hidden_maps(motion.block, {"flow": flow}, ratio=SIDE**2 / 196)
    np.testing.assert_array_equal(hidden.sum((2, 3)), SIDE**2)
    off = np.linalg.norm(centres(hidden) - (moving.corners + SIDE / 2), axis=-1)
    assert (off < 1).mean() > 0.9, np.quantile(off, [0.5, 0.9, 1])
    resting = np.linalg.norm(centres(hidden)[:, :1] - (moving.corners + SIDE / 2), axis=-1)
    assert (resting[:, -1] < 1).mean() < 0.1


@pytest.mark.proves(30, "what moves is visible far less often than under random masks")
def test_the_block_hides_what_moves():
    moving = random_square(64, SIDE)
    hidden = hidden_maps(motion.block, {"flow": moving.flow}, ratio=0.75)
    np.testing.assert_array_equal(hidden.sum((2, 3)), 147)
    shown = (~hidden & moving.inside).sum() / moving.inside.sum()
    random = draw(uniform.random, count=64, ratio=0.75).hidden.reshape(hidden.shape)
    by_chance = (~random & moving.inside).sum() / moving.inside.sum()
    assert by_chance == pytest.approx(0.25, abs=0.03)
    assert shown < by_chance / 2


@pytest.mark.proves(30, "without motion, or with a moving camera alone, the block lies anywhere")
@pytest.mark.parametrize("pan", [0.0, 0.05])
def test_without_motion_the_block_lies_at_a_random_place(pan):
    grid = (2, 4, 5)
    flow = np.full((2000, *grid, 2), pan, np.float32)
    hidden = hidden_maps(motion.block, {"flow": flow}, grid, ratio=0.3)[:, 0].reshape(2000, -1)
    blocks, counts = np.unique(hidden, axis=0, return_counts=True)
    # Blocks of two by three tokens fit at nine places.
    assert len(blocks) == 9
    assert ((counts - 2000 / 9) ** 2).sum() / (2000 / 9) < 26.1  # chi-square, 8 degrees, 0.001


def test_camera_motion_gives_no_hot_spot():
    moving = square(np.array([[2.0, 3.0]]), np.array([[2.0, 8.0]]), SIDE)
    panned = moving.flow[:, 0] + np.float32([-2.0, 1.0])
    spots, speeds = hot_spots(panned)
    np.testing.assert_allclose(spots, [[3.5, 4.5]], atol=1e-5)
    np.testing.assert_allclose(speeds, 5 / 7, rtol=1e-5)
    spots, speeds = hot_spots(np.zeros_like(panned))
    assert np.isfinite(spots).all() and speeds == 0


def test_points_follow_the_flow_and_stop_at_the_border():
    flow = np.zeros((1, 4, 5, 5, 2), np.float32)
    flow[:, 0, :, :, 0] = np.arange(5)[:, None] / 2
    flow[:, 1:, :, :, 1] = 3
    paths = motion.follow_flow(np.float32([[1.5, 0.5]]), flow)
    expected = [[1.5, 0.5], [2.25, 0.5], [2.25, 3.5], [2.25, 4]]
    np.testing.assert_allclose(paths[0], expected, rtol=1e-6)


def test_frame_differences_are_means_over_the_pixels_of_tokens():
    clip = np.random.RandomState(0).rand(2, 4, 6, 4, 3).astype(np.float32)
    differences = motion.difference_motion(clip, (2, 3, 2)).reshape(2, 2, 2, 2)
    for step, row, column in np.ndindex(2, 2, 2):
        part = clip[:, :, row * 3 : row * 3 + 3, column * 2 : column * 2 + 2]
        change = np.abs(part[:, 1:] - part[:, :-1]).mean((2, 3, 4))
        expected = (change[:, max(2 * step - 1, 0)] + change[:, 2 * step]) / 2
        np.testing.assert_allclose(differences[:, step, row, column], expected, rtol=1e-5)
    with pytest.raises(MaskError, match="sides that tokens divide"):
        motion.difference_motion(clip, (2, 4, 2))


def test_the_tokens_that_change_most_are_hidden():
    moving = random_square(4, SIDE)
    differences = motion.difference_motion(pixels(moving, SIDE), (2, 4, 4))
    hidden = hidden_maps(motion.frame_difference, {"motion": differences}, ratio=0.5)
    assert hidden.reshape(4, -1).sum(1).tolist() == [784] * 4
    least = np.sort(differences, axis=1)[:, 784:785]
    assert hidden.reshape(4, -1)[np.asarray(differences) > least].all()
    assert hidden[:, 1:][moving.inside[:, 1:]].mean() > 0.95


def test_a_still_clip_gets_a_random_mask():
    hints = {"motion": np.zeros((1500, 18), np.float32)}
    hidden = hidden_maps(motion.frame_difference, hints, (2, 3, 3), ratio=0.6)
    assert coverage_p_value(hidden) > SIGNIFICANCE
