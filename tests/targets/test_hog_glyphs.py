"""Strokes run along the edges of the picture whose histograms they draw."""

import numpy as np
import pytest

from maskmim.targets.hog import hog
from maskmim.targets.hog_glyphs import glyphs, strokes
from tests.targets.test_hog import ANGLES, grating


@pytest.mark.parametrize("degrees", ANGLES)
def test_the_picture_of_a_grating_has_its_gradients(degrees):
    """The HOG of the glyphs themselves peaks at the bin of the grating, or beside it."""
    histograms = np.asarray(hog(grating(degrees)))[0, :, :, 0]
    strongest = histograms.sum(axis=(0, 1)).argmax()
    drawn = glyphs(histograms, size=24)
    assert drawn.shape == (6 * 24, 6 * 24) and drawn.dtype == np.uint8 and drawn.max() == 255
    again = np.asarray(hog(drawn[None, ..., None].astype(np.float32), cell=24))[0, :, :, 0]
    distance = (again.sum(axis=(0, 1)).argmax() - strongest) % 9
    assert distance in (0, 1, 8)


def test_bins_are_drawn_apart_and_negative_values_not_at_all():
    bars = strokes(9, 15)
    assert bars.min() == 0 and bars.max() == 1
    flat = bars.reshape(9, -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    assert (flat @ flat.T - np.eye(9)).max() < 0.8
    np.testing.assert_array_equal(glyphs(-np.ones((2, 3, 9))), 0)
