import numpy as np
import pytest
from PIL import Image
from scipy import stats

from maskmim.data.resize import resize
from maskmim.data.transforms import random_crop_box, random_resized_crop_flip, resize_center_crop
from tests.data import files
from tests.tolerances import SIGNIFICANCE

MAE = {"scale": (0.2, 1.0), "ratio": (3 / 4, 4 / 3)}


def boxes_of_torchvision_rule(rng, rows, columns, count):
    """The rule of RandomResizedCrop for many pictures at once: tries are rows of a table."""
    area = rows * columns * rng.uniform(0.2, 1.0, (count, 10))
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), (count, 10)))
    width = np.rint(np.sqrt(area * aspect)).astype(int)
    height = np.rint(np.sqrt(area / aspect)).astype(int)
    fits = (width > 0) & (width <= columns) & (height > 0) & (height <= rows)
    chosen = (np.arange(count), fits.argmax(1))
    found = fits.any(1)
    width, height = width[chosen][found], height[chosen][found]
    top = np.floor(rng.random(found.sum()) * (rows - height + 1)).astype(int)
    left = np.floor(rng.random(found.sum()) * (columns - width + 1)).astype(int)
    return np.stack([top, left, height, width], 1), found.mean()


@pytest.mark.parametrize("shape", [(96, 96), (96, 128), (300, 120)])
def test_crop_boxes_follow_torchvisions_rule(shape):
    rng = np.random.default_rng(1)
    ours = np.array([random_crop_box(rng, shape, **MAE) for _ in range(6000)])
    theirs, found = boxes_of_torchvision_rule(np.random.default_rng(2), *shape, 20_000)
    assert found > 0.95
    rows, columns = shape
    fallback = (
        (ours[:, 1] == 0) & (ours[:, 3] == columns) & (ours[:, 0] == (rows - ours[:, 2]) // 2)
    )
    ours = ours[~fallback] if found < 1 else ours
    assert len(ours) > 5000
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > SIGNIFICANCE
    for derived in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2]):
        assert stats.ks_2samp(derived(ours), derived(theirs)).pvalue > SIGNIFICANCE


@pytest.mark.parametrize(
    "shape, expected",
    [
        ((1000, 10), (493, 0, 13, 10)),  # too tall: width / height becomes 3/4
        ((10, 1000), (0, 493, 10, 13)),  # too wide: it becomes 4/3
    ],
)
def test_extreme_shapes_fall_back_to_the_centre(shape, expected):
    rng = np.random.default_rng(0)
    assert {random_crop_box(rng, shape, **MAE) for _ in range(50)} == {expected}


# How far crops of smooth pictures are from Pillow's, see `matrix_resize`.
MOST_LEVELS = 2


def test_the_crop_is_cut_out_and_then_resized():
    image = files.picture(0, (60, 80, 3))
    seen = set()
    for seed in range(40):
        top, left, height, width = random_crop_box(np.random.default_rng(seed), (60, 80), **MAE)
        part = Image.fromarray(image).crop((left, top, left + width, top + height))
        expected = np.asarray(part.resize((24, 16), Image.Resampling.BICUBIC))
        out = random_resized_crop_flip(np.random.default_rng(seed), image, size=(16, 24))
        plain, mirrored = (
            np.abs(out.astype(int) - each).max() <= MOST_LEVELS
            for each in (expected, expected[:, ::-1])
        )
        assert plain != mirrored
        seen.add(mirrored)
    assert seen == {True, False}


def test_half_of_the_pictures_are_mirrored():
    ramp = np.repeat(np.arange(0, 160, 10, dtype=np.uint8)[None, :, None], 16, 0).repeat(3, 2)
    outs = [
        random_resized_crop_flip(np.random.default_rng(seed), ramp, size=(8, 8))
        for seed in range(600)
    ]
    mirrored = sum(int(out[0, 0, 0]) > int(out[0, -1, 0]) for out in outs)
    assert stats.binomtest(mirrored, 600, 0.5).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_channels_do_not_mix(channels):
    image = np.random.default_rng(0).integers(0, 256, (20, 31, channels), dtype=np.uint8)
    out = resize(image, (9, 13))
    for c in range(channels):
        alone = Image.fromarray(image[..., c]).resize((13, 9), Image.Resampling.BICUBIC)
        assert np.array_equal(out[..., c], np.asarray(alone))


@pytest.mark.parametrize("transform", [random_resized_crop_flip, resize_center_crop])
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (700, 3, 1), (33, 47, 5)])
def test_any_picture_becomes_the_size(transform, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    out = transform(np.random.default_rng(0), image, size=(12, 20))
    assert out.shape == (12, 20, shape[-1]) and out.dtype == np.uint8
    assert out.flags.c_contiguous


def test_evaluation_takes_the_centre_without_randomness():
    image = files.picture(3, (120, 90, 3))
    outs = [
        resize_center_crop(np.random.default_rng(seed), image, size=(56, 56)) for seed in (0, 1)
    ]
    assert np.array_equal(*outs)
    # MAE's way: the short side to 64, that is 56 / 0.875, then the centre.
    whole = Image.fromarray(image).resize((64, 85), Image.Resampling.BICUBIC)
    expected = np.asarray(whole.crop((4, 14, 60, 70))).astype(int)
    assert np.abs(outs[0] - expected).mean() < 2


def test_an_uncropped_evaluation_of_the_right_size_changes_nothing():
    image = files.picture(4, (24, 32, 3))
    out = resize_center_crop(np.random.default_rng(0), image, size=(24, 32), crop_fraction=1.0)
    assert np.array_equal(out, image)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_mirrored_resize_is_the_resize_mirrored(channels):
    image = files.picture(5, (31, 44, channels))
    plain, mirrored = (resize(image, (20, 24), mirror=mirror) for mirror in (False, True))
    assert np.array_equal(mirrored, plain[:, ::-1]) and mirrored.flags.c_contiguous


@pytest.mark.parametrize("transform", [random_resized_crop_flip, resize_center_crop])
@pytest.mark.parametrize("channels", [1, 3, 13])
def test_real_numbers_keep_their_precision_in_each_channel(transform, channels):
    image = np.random.default_rng(0).uniform(-5, 3000, (33, 47, channels)).astype(np.float32)
    out = transform(np.random.default_rng(4), image, size=(12, 20))
    assert out.dtype == np.float32 and out.shape == (12, 20, channels)
    # The same crop in levels of 8 bits is the same but for rounding and clipping between passes.
    low, high = image.min(), image.max()
    levels = np.rint((image - low) / (high - low) * 255).astype(np.uint8)
    coarse = transform(np.random.default_rng(4), levels, size=(12, 20))
    assert np.abs(np.clip((out - low) / (high - low) * 255, 0, 255) - coarse).mean() < 0.6
    assert len(np.unique(out)) > 0.99 * out.size
