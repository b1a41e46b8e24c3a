"""Schedules of momentum: their values along training, and invalid settings."""

from __future__ import annotations

import numpy as np
import pytest

from maskmim.teachers.momentum import MomentumError, constant, cosine, linear


def test_values_along_training():
    progress = np.array([0.0, 0.25, 0.5, 0.75, 1.0], np.float32)
    np.testing.assert_allclose(constant(progress, value=0.9), 0.9, rtol=1e-6)
    expected = 1 - 0.004 * (np.cos(np.pi * progress) + 1) / 2
    np.testing.assert_allclose(cosine(progress, start=0.996), expected, rtol=1e-6)
    values = linear(progress, start=0.5, end=0.9, until=0.5)
    np.testing.assert_allclose(values, [0.5, 0.7, 0.9, 0.9, 0.9], rtol=1e-6)


@pytest.mark.proves(46, "the momentum equals the official one at the start of every epoch")
@pytest.mark.parametrize("epochs", [200, 800])
def test_the_official_ramp(epochs):
    ours = linear(np.arange(epochs) / epochs, start=0.999, end=0.9999, until=100 / epochs)
    official = [
        0.999 + epoch / 100 * (0.9999 - 0.999) if epoch < 100 else 0.9999 for epoch in range(epochs)
    ]
    np.testing.assert_allclose(1 - ours, 1 - np.array(official), atol=2e-7)


@pytest.mark.parametrize(
    ("schedule", "settings", "words"),
    [
        (constant, {"value": 1.2}, "momentum value 1.2"),
        (cosine, {"start": -0.1}, "momentum start -0.1"),
        (linear, {"start": 0.9, "end": 2.0}, "momentum end 2.0"),
        (linear, {"start": 0.9, "end": 1.0, "until": 0.0}, "until 0.0: a share of the training"),
    ],
)
def test_invalid_momentum_is_an_error(schedule, settings, words):
    with pytest.raises(MomentumError, match=words):
        schedule(0.5, **settings)
