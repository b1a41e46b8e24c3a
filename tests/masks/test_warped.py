"""Tubes that follow motion. The official mixture: tests/golden/masks/video_record.py."""

import jax
import numpy as np
import pytest
import torch

from maskmim.masks import video, warped
from tests.masks.video_clips import GRID, OFFICIAL, draw, square
from tests.tolerances import PARITY

COUNT = 8
MIDDLE = GRID[0] // 2
reverse_flow = jax.jit(warped.reverse_flow)


def visible_maps(sampler, flow, **options):
    mask = draw(sampler, count=len(flow), hints={"flow": flow}, **options)
    np.testing.assert_array_equal(mask.hidden.reshape(-1, 196).sum(1), 176)
    return ~mask.hidden.reshape(len(flow), *GRID)


def panned(*velocity):
    return np.broadcast_to(np.float32(velocity), (COUNT, *GRID, 2))


@pytest.mark.proves(54, "without motion the mask is a tube")
def test_without_motion_the_mask_is_a_tube():
    visible = visible_maps(warped.tube, panned(0, 0), ratio=0.9)
    tube = draw(video.tube, count=COUNT, ratio=0.9)
    np.testing.assert_array_equal(visible.reshape(COUNT, -1), ~tube.hidden)


@pytest.mark.proves(54, "the map of the base frame is the official one, given its centres")
def test_the_mixture_is_the_official_one():
    official = OFFICIAL["mixture"]
    gaussians = warped.nearest_gaussian((official == 1)[None])
    np.testing.assert_allclose(gaussians[0], official, rtol=PARITY, atol=1e-30)


def torch_warped(near, flow):
    """Sample maps along a flow by torch's grid_sample, zeros outside: [B, h, w], [B, h, w, 2]."""
    size = np.array(near.shape[1:])
    places = np.stack(np.indices(size), -1) + flow
    grid = torch.tensor((2 * places / (size - 1) - 1)[..., ::-1].astype(np.float32))
    field = torch.tensor(near)[:, None]
    return torch.nn.functional.grid_sample(field, grid, align_corners=True)[:, 0].numpy()


@pytest.mark.proves(54, "maps before and after the base are looked up along the flow towards it")
def test_maps_are_warped_towards_the_base_from_both_sides():
    random = np.random.RandomState(0)
    base = random.rand(2, 5, 7).astype(np.float32)
    forth, back = random.uniform(-2, 2, (2, 2, 6, 5, 7, 2)).astype(np.float32)
    expected = [base] * 6
    for step in (2, 1, 0):
        expected[step] = torch_warped(expected[step + 1], forth[:, step])
        expected[step] = np.where(expected[step] == 0, base, expected[step])
    for step in (4, 5):
        expected[step] = torch_warped(expected[step - 1], back[:, step - 1])
        expected[step] = np.where(expected[step] == 0, base, expected[step])
    maps = jax.jit(warped.warped_maps)(base, forth, back)
    np.testing.assert_allclose(maps, np.stack(expected, 1), atol=PARITY)


def shifted(mask, rows, columns):
    """Shift a map by whole tokens, False where nothing moved in: bool[B, h, w]."""
    moved = np.roll(mask, (rows, columns), (1, 2))
    stays = np.zeros(mask.shape[1:], bool)
    height, width = stays.shape
    stays[max(rows, 0) : height + rows, max(columns, 0) : width + columns] = True
    return moved & stays, stays


@pytest.mark.proves(54, "visible tokens follow a translation exactly")
@pytest.mark.parametrize("velocity", [(1, -1), (0, 2)])
def test_visible_tokens_follow_a_translation(velocity):
    visible = visible_maps(warped.tube, panned(*velocity), ratio=0.9)
    followed = []
    for step in range(GRID[0]):
        rows, columns = ((step - MIDDLE) * part for part in velocity)
        moved, known = shifted(visible[:, MIDDLE], rows, columns)
        followed.append(visible[:, step][moved].mean())
        for shown, expected in zip(visible[:, step], moved, strict=True):
            # All tokens that moved along are visible, or nothing else is.
            assert shown[expected].all() or not (shown & known & ~expected).any()
    assert np.mean(followed) > 0.9


@pytest.mark.proves(54, "visible tokens of a moving square move with it, those around it stay")
def test_visible_tokens_follow_a_square_over_a_still_background():
    starts = np.tile([[0.0, 7.0]], (COUNT, 1))
    moving = square(starts, starts + np.array([7.0, -7.0]), 6)
    visible = visible_maps(warped.tube, moving.flow, ratio=0.9)
    on_square = visible & moving.inside
    followed, off = [], []
    for step in range(GRID[0]):
        moved, _ = shifted(on_square[:, MIDDLE], step - MIDDLE, MIDDLE - step)
        followed.append(visible[:, step][moved].mean())
        for shown, expected in zip(on_square[:, step], moved, strict=True):
            middles = [np.argwhere(each).mean(0) for each in (shown, expected)]
            off.append(np.linalg.norm(np.subtract(*middles)))
    assert np.mean(followed) > 0.9 and np.mean(np.array(off) < 1) > 0.9
    around = visible[:, MIDDLE] & ~moving.inside.any(1)
    stays = visible[np.broadcast_to(around[:, None], visible.shape)].mean()
    assert stays > 0.9


@pytest.mark.proves(54, "far fewer hidden tokens can be copied along the flow than under tubes")
def test_little_can_be_copied_along_the_flow():
    def leaks(visible):
        before, _ = shifted(visible[:, :-1].reshape(-1, 14, 14), 1, 2)
        return (before & ~visible[:, 1:].reshape(-1, 14, 14)).sum() / (~visible[:, 1:]).sum()

    flow = panned(1, 2)
    bent, straight = (visible_maps(each, flow, ratio=0.9) for each in (warped.tube, video.tube))
    assert leaks(straight) > 0.07 and leaks(bent) < leaks(straight) / 4


def test_the_backward_flow_undoes_the_forward_flow():
    ends = np.array([[1.0, 8.0], [8.0, 1.0]])
    moving = square(ends, ends[::-1], 4)
    back = np.asarray(reverse_flow(moving.flow))[:, :-1]
    later, earlier = moving.inside[:, 1:], moving.inside[:, :-1]
    expected = np.where(later[..., None], np.array([[[[-1, 1]]], [[[1, -1]]]])[:, None], 0)
    known = later | ~earlier
    np.testing.assert_array_equal(back[known], expected[known])
    np.testing.assert_array_equal(reverse_flow(panned(1, -2)[:2]), -panned(1, -2)[:2])
