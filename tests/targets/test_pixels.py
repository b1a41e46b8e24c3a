"""Pixel targets against numpy, and the way back to pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.facts import facts_of
from maskmim.masks.core import from_scores
from maskmim.targets.pixels import denormalise, normalised_patches, patches
from maskmim.types import Context, View
from tests.tiny import SPEC, pictures, tiny_model


@pytest.fixture(scope="module")
def view():
    net = tiny_model()(SPEC)
    inputs = net.inputs({"image": pictures(3)})
    mask = from_scores(jax.random.uniform(jax.random.key(0), (3, 12)), ratio=0.5)
    return View(net, Context({}, net.grids, {}), inputs, mask, None, {}, {})


def by_hand(view):
    """Patches of the predicted tokens, cut one by one."""
    images = np.asarray(view.inputs, np.float64)
    return np.array(
        [
            [
                image[8 * (t // 3) : 8 * (t // 3) + 8, 8 * (t % 3) : 8 * (t % 3) + 8].ravel()
                for t in row
            ]
            for image, row in zip(images, np.asarray(view.mask.predict), strict=True)
        ]
    )


def test_patches_are_cut_in_row_column_channel_order(view):
    np.testing.assert_allclose(patches(view), by_hand(view), rtol=1e-6)


@pytest.mark.proves(3, "targets are normalised by each patch's mean and unbiased variance + 1e-6")
def test_normalised_patches(view):
    values = by_hand(view)
    mean = values.mean(-1, keepdims=True)
    variance = values.var(-1, keepdims=True, ddof=1)
    expected = (values - mean) / np.sqrt(variance + 1e-6)
    targets = normalised_patches(view)
    np.testing.assert_allclose(targets, expected, rtol=1e-4, atol=1e-5)
    biased = (values - mean) / np.sqrt(values.var(-1, keepdims=True) + 1e-6)
    assert np.abs(targets - biased).max() > 20 * np.abs(targets - expected).max()


def test_a_flat_patch_stays_finite(view):
    flat = view._replace(inputs=jnp.full_like(view.inputs, 0.3))
    np.testing.assert_allclose(normalised_patches(flat), 0.0, atol=1e-3)


def test_denormalise_turns_a_perfect_prediction_into_the_pixels(view):
    np.testing.assert_allclose(
        denormalise(view, normalised_patches(view)), by_hand(view), atol=1e-5
    )
    assert facts_of(normalised_patches).pixels is denormalise
