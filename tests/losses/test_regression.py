"""Elementwise losses against numpy."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.losses.regression import absolute_error, focal_absolute_error, smooth_l1, squared_error


def focal(error, focus=0.2):
    """|e| tanh(focus |e| / 2), as 2 sigmoid(z) - 1 = tanh(z / 2)."""
    return np.abs(error) * np.tanh(focus * np.abs(error) / 2)


@pytest.mark.parametrize(
    ("loss", "by_numpy"),
    [(squared_error, np.square), (absolute_error, np.abs), (focal_absolute_error, focal)],
)
def test_mean_over_the_values_of_a_token(loss, by_numpy):
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(2, 4, 3, 7)).astype(np.float32)
    expected = by_numpy(prediction - target).mean(axis=-1)
    np.testing.assert_allclose(loss(prediction, target), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", [squared_error, absolute_error, focal_absolute_error])
def test_low_precision_predictions_are_compared_in_float32(loss):
    prediction = jnp.full((1, 1, 3), 300.0, jnp.bfloat16)
    target = jnp.full((1, 1, 3), 300.5, jnp.float32)
    error = loss(prediction, target)
    assert error.dtype == jnp.float32
    assert error[0, 0] == loss(prediction.astype(jnp.float32), target)[0, 0]


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_smooth_l1_is_torchs(beta):
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(0, 2, size=(2, 4, 3, 7)).astype(np.float32)
    by_torch = torch.nn.SmoothL1Loss(reduction="none", beta=beta)
    expected = by_torch(torch.from_numpy(prediction), torch.from_numpy(target)).mean(dim=-1)
    np.testing.assert_allclose(smooth_l1(prediction, target, beta=beta), expected, rtol=1e-5)
