"""Windows over whole pictures: every pixel is covered, means are means, resizing is torch's."""

import numpy as np
import pytest
import torch

from maskmim.evals.dense.sliding_windows import fitted, predict_whole, resized_to, window_corners


@pytest.mark.parametrize("shape", [(8, 6), (20, 6), (9, 31), (17, 23)])
@pytest.mark.parametrize("stride", [0.25, 2 / 3, 1.0])
def test_windows_cover_every_pixel_and_stay_inside(shape, stride):
    covered = np.zeros(shape, int)
    for row, column in window_corners(shape, (8, 6), stride):
        assert 0 <= row <= shape[0] - 8 and 0 <= column <= shape[1] - 6
        covered[row : row + 8, column : column + 6] += 1
    assert covered.min() >= 1
    assert len(set(window_corners(shape, (8, 6), stride))) == len(
        window_corners(shape, (8, 6), stride)
    )


@pytest.mark.parametrize("batch", [1, 4, 7])
def test_a_prediction_is_the_mean_over_the_windows_of_a_pixel(batch):
    rng = np.random.default_rng(0)
    pictures = [rng.random((rows, columns, 2)) for rows, columns in ((8, 6), (13, 11), (8, 20))]
    sizes = []

    def predict(windows):
        """Each pixel minus the mean of its window: another number in each window."""
        sizes.append(windows.shape)
        return windows - windows.mean(axis=(1, 2), keepdims=True)

    found = list(predict_whole(predict, iter(pictures), size=(8, 6), stride=0.5, batch=batch))
    assert set(sizes) == {(batch, 8, 6, 2)} and len(found) == 3
    for picture, values in zip(pictures, found, strict=True):
        total, times = np.zeros(picture.shape), np.zeros(picture.shape)
        for row, column in window_corners(picture.shape[:2], (8, 6), 0.5):
            here = slice(row, row + 8), slice(column, column + 6)
            total[here] += picture[here] - picture[here].mean(axis=(0, 1))
            times[here] += 1
        np.testing.assert_allclose(values, total / times, atol=1e-6)


@pytest.mark.parametrize("new", [(5, 9), (14, 4), (3, 3), (7, 8)])
def test_resizing_is_that_of_torch(new):
    values = np.random.default_rng(0).normal(size=(7, 8, 3)).astype("f4")
    planes = torch.tensor(values.transpose(2, 0, 1))[None]
    expected = torch.nn.functional.interpolate(planes, size=new, mode="bilinear")[0]
    np.testing.assert_allclose(resized_to(values, new), expected.permute(1, 2, 0), atol=1e-6)


def test_pictures_are_enlarged_only_where_a_window_does_not_fit():
    picture = np.zeros((20, 30, 3), np.uint8)
    assert fitted(picture, (16, 16), None) is picture
    assert fitted(picture, (32, 16), None).shape == (32, 48, 3)
    assert fitted(picture, (16, 45), None).shape == (30, 45, 3)
    assert fitted(picture, (16, 16), 40).shape == (40, 60, 3)
    assert fitted(picture, (16, 16), 10).shape == (16, 24, 3)
