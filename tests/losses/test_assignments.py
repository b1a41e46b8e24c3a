"""Assignments to prototypes against numpy; me-max keeps prototypes in use, where they collapse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.losses.assignments import (
    assignment_loss,
    assignments,
    balanced_targets,
    entropy_gap,
)
from maskmim.quantize.vector_quantize import l2_normalise

SETTINGS = assignments()
TEMPERATURE = SETTINGS.temperature


def cosines(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.proves(102, "targets are softmax probabilities to the power 4, balanced three times")
def test_targets_equal_the_formula():
    given = cosines(12, 5)
    expected = softmax(given.astype(np.float64) / TEMPERATURE) ** 4
    expected /= expected.sum(axis=1, keepdims=True)
    for _ in range(3):
        expected /= expected.sum(axis=0)
        expected /= expected.sum(axis=1, keepdims=True)
    found = np.asarray(balanced_targets(given, SETTINGS))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.max(axis=1).mean() > softmax(given / TEMPERATURE).max(axis=1).mean()
    assert not np.any(jax.grad(lambda x: jnp.sum(balanced_targets(x, SETTINGS)[:, 0]))(given))


@pytest.mark.proves(102, "a prototype that all targets prefer is shared out over the batch")
def test_targets_use_prototypes_that_nobody_prefers():
    given = cosines(40, 4) * 0.02
    given[:, 2] += 0.1
    assert (softmax(given / TEMPERATURE / 0.25).argmax(axis=1) == 2).all()
    use = np.asarray(balanced_targets(given, assignments(iterations=30))).sum(axis=0)
    np.testing.assert_allclose(use, 10, rtol=0.01)


def test_the_loss_is_the_mean_over_anchors():
    anchors, targets = cosines(6, 3, 5), softmax(cosines(6, 5, seed=1))
    logs = np.log(softmax(anchors / TEMPERATURE))
    expected = -(targets[:, None] * logs).sum(axis=-1).mean(axis=1)
    np.testing.assert_allclose(assignment_loss(anchors, targets, TEMPERATURE), expected, rtol=1e-5)


@pytest.mark.proves(102, "me-max is 0 for prototypes used alike and log K for one alone")
def test_me_max_is_the_entropy_that_the_mean_lacks():
    one_each = np.tile(2 * np.eye(4, dtype=np.float32), (3, 2, 1)).reshape(12, 2, 4)
    assert float(entropy_gap(one_each, TEMPERATURE)) == pytest.approx(0, abs=1e-6)
    same = np.zeros((12, 2, 4), np.float32)
    same[..., 1] = 2
    assert float(entropy_gap(same, TEMPERATURE)) == pytest.approx(np.log(4), abs=1e-4)
    given = cosines(12, 2, 4)
    mean = softmax(given / TEMPERATURE).mean(axis=(0, 1))
    expected = np.log(4) + np.sum(mean * np.log(mean))
    np.testing.assert_allclose(entropy_gap(given, TEMPERATURE), expected, rtol=1e-4)


def used_after(steps: int, *, me_max_scale: float) -> int:
    """How many prototypes are the nearest of some example after steps of a shared offset.

    Examples are fixed points, moved by one offset, as by a network's biases, that begins at twice a
    prototype. It learns the losses; targets are sharpened, but not balanced.
    """
    rng = np.random.default_rng(0)
    points = jnp.asarray(rng.standard_normal((64, 6)), jnp.float32)
    prototypes = l2_normalise(jnp.asarray(rng.standard_normal((8, 6)), jnp.float32))

    def anchors(offset):
        return (l2_normalise(points + offset[None]) @ prototypes.T)[:, None]

    def loss(offset):
        found = anchors(offset)
        targets = jax.nn.softmax(jax.lax.stop_gradient(found[:, 0]) / TEMPERATURE / 0.25)
        terms = assignment_loss(found, targets, TEMPERATURE)
        return jnp.mean(terms) + me_max_scale * entropy_gap(found, TEMPERATURE)

    def step(offset, _):
        return offset - 0.3 * jax.grad(loss)(offset), None

    offset, _ = jax.lax.scan(step, 2 * prototypes[0], length=steps)
    return len(np.unique(np.argmax(anchors(offset)[:, 0], axis=-1)))


@pytest.mark.full
@pytest.mark.proves(102, "prototypes stay in use with me-max, and collapse to one without")
def test_me_max_prevents_the_collapse():
    assert used_after(0, me_max_scale=0.0) > 2
    assert used_after(400, me_max_scale=0.0) == 1
    assert used_after(400, me_max_scale=1.0) == 8
