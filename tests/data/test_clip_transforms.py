import numpy as np
import pytest
from scipy import stats

from maskmim.data.clip_transforms import (
    centre_crop,
    multi_scale_crop,
    random_multi_scale_box,
    random_resized_crop_flip,
)
from maskmim.data.matrix_resize import resize_by_matrices
from maskmim.data.records import DataError
from maskmim.data.transforms import resize_center_crop
from tests.data import files
from tests.tolerances import SIGNIFICANCE

SCALES = (1.0, 0.875, 0.75, 0.66)
BRICKS = [multi_scale_crop, random_resized_crop_flip, centre_crop]


def still(count, shape=(40, 60, 3)):
    """A clip of one picture."""
    return np.repeat(files.picture(0, shape)[None], count, axis=0)


@pytest.mark.parametrize("brick", BRICKS)
def test_all_frames_are_cut_alike(brick):
    for seed in range(8):
        out = brick(np.random.default_rng(seed), still(5), size=(5, 24, 16))
        assert out.shape == (5, 24, 16, 3) and out.dtype == np.uint8 and out.flags.c_contiguous
        assert (out == out[0]).all()


@pytest.mark.parametrize("brick", BRICKS)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 50, 3), (70, 3, 1), (33, 47, 5)])
def test_any_clip_becomes_the_size(brick, shape):
    clip = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    assert brick(np.random.default_rng(0), clip, size=(2, 6, 8)).shape == (2, 6, 8, shape[-1])


@pytest.mark.parametrize("brick", BRICKS)
def test_another_number_of_frames_is_an_error(brick):
    with pytest.raises(
        DataError, match=r"5 frames, but input.size .* is \(4, 8, 8\).*decode.frames"
    ):
        brick(np.random.default_rng(0), still(5), size=(4, 8, 8))


def official_boxes(rows, columns, side):
    """Every box of the official rule with its probability: sizes first, then one of 13 places."""
    sizes = [side if abs(int(min(rows, columns) * s) - side) < 3 else int(min(rows, columns) * s)
             for s in SCALES]  # fmt: skip
    pairs = [(h, w) for i, h in enumerate(sizes) for j, w in enumerate(sizes) if abs(i - j) <= 1]
    boxes = {}
    for h, w in pairs:
        down, right = (rows - h) // 4, (columns - w) // 4
        corners = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (4, 2), (0, 2)]
        for y, x in [*corners, (1, 1), (1, 3), (3, 1), (3, 3)]:
            box = y * down, x * right, h, w
            boxes[box] = boxes.get(box, 0) + 1 / len(pairs) / 13
    return boxes


@pytest.mark.parametrize("shape, side", [((240, 320), 224), ((340, 256), 224), ((226, 226), 224)])
def test_boxes_follow_the_official_rule(shape, side):
    expected = official_boxes(*shape, side)
    rng, count = np.random.default_rng(0), 6000
    drawn = [random_multi_scale_box(rng, shape, (side, side), scales=SCALES) for _ in range(count)]
    assert set(drawn) == set(expected)
    seen = [drawn.count(box) for box in expected]
    wanted = [share * count for share in expected.values()]
    assert stats.chisquare(seen, wanted).pvalue > SIGNIFICANCE


def test_the_box_is_cut_out_and_resized():
    clip = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), np.uint8)
    top, left, height, width = random_multi_scale_box(
        np.random.default_rng(5), (40, 60), (24, 24), scales=SCALES
    )
    part = clip[:, top : top + height, left : left + width]
    out = multi_scale_crop(np.random.default_rng(5), clip, size=(3, 24, 24))
    np.testing.assert_array_equal(out, [resize_by_matrices(f, (24, 24)) for f in part])
    mirrored = multi_scale_crop(np.random.default_rng(5), clip, size=(3, 24, 24), flip=1.0)
    np.testing.assert_array_equal(mirrored, out[:, :, ::-1])


def test_evaluation_takes_the_centre_of_every_frame():
    clip = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), np.uint8)
    outs = [centre_crop(np.random.default_rng(seed), clip, size=(3, 24, 24)) for seed in (0, 1)]
    np.testing.assert_array_equal(*outs)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(outs[0], [resize_center_crop(rng, x, (24, 24)) for x in clip])
