"""Random crops with colour jitter."""

import numpy as np
import pytest

from maskmim.data.jittered_crop import jittered_crop_flip
from maskmim.data.records import DataError
from maskmim.data.transforms import random_resized_crop_flip


def picture():
    return np.random.default_rng(0).integers(96, 160, (40, 30, 3), np.uint8)


def crop(**changes):
    return jittered_crop_flip(np.random.default_rng(3), picture(), (16, 16), **changes)


def test_without_jitter_it_is_the_plain_crop():
    rng = np.random.default_rng(3)
    for limit in (0.0, 0.0, 0.0):
        rng.uniform(1 - limit, 1 + limit)
    rng.permutation(3)
    wanted = random_resized_crop_flip(rng, picture(), (16, 16))
    np.testing.assert_array_equal(crop(jitter=(0.0, 0.0, 0.0)), wanted)


@pytest.mark.parametrize("place", range(3))
def test_each_limit_changes_what_it_says(place):
    """Brightness scales all values, contrast their spread, saturation the spread of channels."""
    limits = [0.0, 0.0, 0.0]
    limits[place] = 0.5
    rng = np.random.default_rng(3)
    factor = [rng.uniform(1 - limit, 1 + limit) for limit in limits][place]
    assert abs(factor - 1) > 0.1
    plain, found = crop(jitter=(0.0, 0.0, 0.0)).astype(float), crop(jitter=limits).astype(float)
    weights = np.array([0.299, 0.587, 0.114])
    greys = plain @ weights, found @ weights
    ratios = greys[1].mean() / greys[0].mean(), greys[1].std() / greys[0].std()
    spreads = [(plain - greys[0][..., None]).std(), (found - greys[1][..., None]).std()]
    wanted = {0: (factor, factor, factor), 1: (1, factor, factor), 2: (1, 1, factor)}[place]
    np.testing.assert_allclose((*ratios, spreads[1] / spreads[0]), wanted, rtol=0.02)


def test_a_picture_without_colours():
    with pytest.raises(DataError, match="not 1 channel of"):
        jittered_crop_flip(np.random.default_rng(0), picture()[..., :1], (8, 8))
    with pytest.raises(DataError, match="3 channels of float32"):
        jittered_crop_flip(np.random.default_rng(0), picture().astype(np.float32), (8, 8))
