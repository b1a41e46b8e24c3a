"""The gallery's scenes and the hints computed from them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from maskmim.mask_tools.gallery.hints import CLUSTERS, KNOWN, QUERIES, compute_hint, repeat_hints
from maskmim.mask_tools.gallery.scene import photograph_scene, spectrogram_scene
from maskmim.masks.core import MaskError

GRIDS = [(24,), (14, 14), (7, 11), (1, 50), (4, 6, 8)]


@pytest.mark.parametrize("grid", GRIDS)
def test_a_scene_has_pixels_for_every_token(grid):
    scene = photograph_scene(grid)
    time = grid[0] if len(grid) == 3 else 1
    assert scene.frames.shape[0] == time
    rows, columns = ((1, *grid) if len(grid) == 1 else grid)[-2:]
    assert scene.frames.shape[1] % rows == scene.frames.shape[2] % columns == 0
    assert scene.frames.min() >= 0 and 0.5 < scene.frames.max() <= 1
    assert scene.flow.shape == (time, rows, columns, 2)
    assert len(scene.patches) == np.prod(grid)


def test_patches_are_in_the_order_of_tokens():
    scene = photograph_scene((2, 3, 4))
    high, wide = scene.frames.shape[1] // 3, scene.frames.shape[2] // 4
    expected = scene.frames[1, 2 * high : 3 * high, wide : 2 * wide].reshape(-1, 3)
    np.testing.assert_array_equal(scene.patches[1 * 12 + 2 * 4 + 1], expected)


def test_the_flow_says_where_pixels_go():
    """Each frame pulled back along the flow is the frame before, far better than unmoved."""
    scene = photograph_scene((6, 14, 14))
    size = scene.frames.shape[1] // 14
    middles = np.stack(np.meshgrid(*[(np.arange(14) + 0.5)] * 2, indexing="ij"))
    for step in range(5):
        now, then = (scipy.ndimage.gaussian_filter(f.mean(-1), 4) for f in scene.frames[step:][:2])
        later = middles + scene.flow[step].transpose(2, 0, 1)
        inside = ((later > 0.5) & (later < 13.5)).all(0)

        def at(frame, places):
            return scipy.ndimage.map_coordinates(frame, places * size - 0.5, order=1)

        moved = np.abs(at(then, later) - at(now, middles))[inside].mean()
        unmoved = np.abs(at(then, middles) - at(now, middles))[inside].mean()
        assert moved < 0.25 * unmoved
    assert np.abs(scene.flow).max() > 0.5


def test_grids_that_cannot_be_drawn_are_errors():
    for make, grid in (
        (photograph_scene, (2, 2, 2, 2)),
        (photograph_scene, (0, 3)),
        (spectrogram_scene, (8,)),
    ):
        with pytest.raises(MaskError, match="axes"):
            make(grid)


def test_a_spectrogram_is_turned_for_looking_at():
    scene = spectrogram_scene((16, 4))
    frame = scene.frames[0]
    assert frame.shape[0] == 4 * frame.shape[1]
    upright = scene.upright(frame)
    np.testing.assert_array_equal(upright[-1, :, 0], frame[:, 0, 0])  # The lowest pitch, in time.


@pytest.mark.parametrize("grid", GRIDS)
def test_hints_have_their_agreed_shapes(grid):
    count, scene = int(np.prod(grid)), photograph_scene(grid)
    hints = {name: compute_hint(scene, name) for name in KNOWN - {"noise_bank"}}
    time, rows, columns = (1,) * (3 - len(grid)) + grid
    for name in ("attention", "importance", "logits", "motion", "token_loss"):
        assert hints[name].shape == (1, count) and hints[name].dtype == np.float32, name
        assert np.isfinite(hints[name]).all()
    assert hints["labels"].shape == (1, count) and hints["labels"].dtype == np.int32
    assert hints["features"].shape[:2] == (1, count)
    assert hints["flow"].shape == (1, time, rows, columns, 2)
    assert hints["token_attention"].shape == (1, min(QUERIES, count), count)
    np.testing.assert_allclose(hints["token_attention"].sum(-1), 1.0, rtol=1e-5)
    assert hints["missing"].sum() == round(0.2 * count)
    assert hints["region"].sum() == count - count // 2
    assert hints["members"].shape == (1, count, CLUSTERS) and hints["members"].any(-1).all()


def test_hints_of_a_batch_are_equal_examples():
    scene = photograph_scene((4, 5))
    hints = {name: compute_hint(scene, name) for name in ("attention", "features", "noise_bank")}
    assert min(hints["noise_bank"].shape[1:]) >= 5
    batch = repeat_hints(hints, 7)
    assert batch["noise_bank"] is hints["noise_bank"]
    assert batch["attention"].shape == (7, 20)
    np.testing.assert_array_equal(batch["features"][3], hints["features"][0])


def test_the_object_is_the_cluster_that_differs_most():
    scene = photograph_scene((14, 14))
    labels = np.asarray(compute_hint(scene, "labels")[0])
    colours = scene.patches.mean(1)
    away = ((colours - colours.mean(0)) ** 2).sum(-1)
    means = [away[labels == each].mean() for each in range(CLUSTERS)]
    assert np.argmax(means) == 1 and np.argmin(means) == 0
    assert labels.reshape(14, 14)[7, 7] == 1  # The apple.
