"""CAPI's curve, for the learning rate and for the average's momentum."""

import jax
import numpy as np
import pytest

from maskmim.schedules.truncated_cosine import learning_rate, momentum
from maskmim.schedules.warmup import ScheduleError, Span


def test_the_rate_rises_and_follows_part_of_a_cosine():
    """Compare with the official formula of WarmupThenCosine at its steps."""
    steps, warmup = 500, 50
    rate = jax.vmap(learning_rate(Span(steps, 10.0), warmup_epochs=5.0))(np.arange(steps))
    fall = 0.5 * (1 + np.cos(np.pi * 0.8 * np.arange(steps - warmup) / (steps - warmup)))
    np.testing.assert_allclose(rate[warmup:], fall, atol=1e-5)
    np.testing.assert_allclose(rate[:warmup], np.linspace(0, 1, warmup), atol=1 / warmup)
    assert rate[0] == 0 and rate[-1] == pytest.approx(0.0955, abs=1e-2)
    with pytest.raises(ScheduleError, match="warmup_epochs"):
        learning_rate(Span(10, 10.0), warmup_epochs=2.0)


def test_the_momentum_goes_from_one_to_its_least_and_back():
    momenta = [float(momentum(at, least=0.99)) for at in (0.0, 0.05, 0.1, 0.55, 1.0)]
    assert momenta == pytest.approx([1.0, 0.995, 0.99, 1 - 0.00654508, 1 - 0.00095492], abs=1e-6)


def test_a_training_without_a_rise_starts_at_the_top():
    assert float(learning_rate(Span(10, 10.0), warmup_epochs=0.0)(0)) == 1
