"""Losses of features: patch discrimination against a numpy oracle of its formula."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.losses.feature import FeatureError, patch_discrimination
from tests.comparing import close


def arrays(tokens: int, seed: int = 0):
    """Predictions and targets f32[2, tokens, 5]."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, 2, tokens, 5)).astype(np.float32)


def oracle(prediction, target, temperature):
    """The cross-entropy of each row, in float64."""
    prediction, target = np.float64(prediction), np.float64(target)
    deviation = prediction.std(axis=1, ddof=1, keepdims=True) + 1e-4
    prediction = (prediction - prediction.mean(axis=1, keepdims=True)) / deviation
    units = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (prediction, target)]
    rows = np.exp(units[0] @ units[1].swapaxes(1, 2) / temperature)
    own = np.diagonal(rows, axis1=1, axis2=2)
    return -2 * temperature * np.log(own / rows.sum(axis=-1))


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_patch_discrimination_is_the_cross_entropy_of_standardised_predictions(temperature):
    prediction, target = arrays(7)
    ours = patch_discrimination(prediction, target, temperature=temperature)
    close(ours, oracle(prediction, target, temperature))


@pytest.mark.proves(
    133, "patch discrimination ignores what all predictions of a picture share, and other pictures"
)
def test_patch_discrimination_is_of_one_picture_and_free_of_shift_and_scale():
    prediction, target = arrays(6)
    loss = patch_discrimination(prediction, target, epsilon=0.0)
    shift, scale = arrays(2, seed=1)[:, :, :1]
    close(patch_discrimination(prediction * np.exp(scale) + shift, target, epsilon=0.0), loss)
    other = patch_discrimination(prediction, np.concatenate([target[:1], -target[1:]]), epsilon=0.0)
    np.testing.assert_array_equal(other[0], loss[0])
    assert np.all(other[1] != loss[1])
    assert np.any(np.abs(patch_discrimination(prediction, 3 * target + 1) - loss) > 0.01)


def test_equal_predictions_and_a_single_one_have_finite_gradients():
    prediction, target = arrays(4)
    equal = jnp.broadcast_to(prediction[:, :1], prediction.shape)
    for given, wanted in ((equal, target), (prediction[:, :1], target[:, :1])):
        loss, gradient = jax.value_and_grad(lambda x, t=wanted: patch_discrimination(x, t).sum())(
            jnp.asarray(given)
        )
        close(loss, given.shape[0] * given.shape[1] * 0.4 * np.log(given.shape[1]))
        assert np.all(np.isfinite(gradient))


def test_another_width_is_an_error():
    prediction, target = arrays(4)
    with pytest.raises(FeatureError, match="the head has 4 values, the features have 5"):
        patch_discrimination(prediction[..., :4], target)
