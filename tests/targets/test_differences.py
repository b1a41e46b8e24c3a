"""Normalised differences of channels against their formula, and what is drawn of them."""

import numpy as np
import pytest

from maskmim.config.facts import facts_of
from maskmim.masks.core import from_scores
from maskmim.targets.differences import normalised_differences
from maskmim.targets.hog import TargetError
from maskmim.types import Context, View
from tests.tiny import SPEC, pictures, tiny_model

PAIRS = ((0, 1), (1, 2), (2, 0))


@pytest.fixture(scope="module")
def view():
    """Of three pictures in [0, 1], 12 tokens each, 6 predicted."""
    net = tiny_model()(SPEC._replace(mean=(0.0,) * 3, std=(1.0,) * 3))
    noise = np.random.default_rng(0).permuted(np.tile(np.arange(12.0), (3, 1)), axis=1)
    mask = from_scores(np.float32(noise), ratio=0.5)
    inputs = net.inputs({"image": pictures(3)})
    return View(net, Context({}, net.grids, {}), inputs, mask, None, {}, {})


@pytest.mark.proves(142, "a target is (a - b) / (a + b + 1e-5) of two channels at each pixel")
def test_the_formula(view):
    values = np.asarray(view.inputs, np.float64)
    indices = np.stack(
        [
            (values[..., a] - values[..., b]) / (values[..., a] + values[..., b] + 1e-5)
            for a, b in PAIRS
        ],
        axis=-1,
    )
    patches = indices.reshape(3, 4, 8, 3, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(3, 12, -1)
    expected = np.take_along_axis(patches, np.asarray(view.mask.predict)[..., None], axis=1)
    ours = normalised_differences(view, pairs=PAIRS)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert np.abs(ours).max() <= 1 and np.abs(ours).max() > 0.5


def test_a_channel_that_is_missing_is_an_error(view):
    with pytest.raises(TargetError, match="need channel 11, but the input has 3"):
        normalised_differences(view)


def test_a_perfect_prediction_is_drawn_as_the_target(view):
    prediction = normalised_differences(view, pairs=PAIRS)
    shows = facts_of(normalised_differences).shows
    columns = shows(view, prediction, pairs=PAIRS, epsilon=1e-5)
    true, predicted = list(columns.values())[2:]
    np.testing.assert_array_equal(true, predicted)
    others = list(shows(view, -prediction, pairs=PAIRS, epsilon=1e-5).values())[3]
    assert (np.asarray(others) != np.asarray(true)).any()
