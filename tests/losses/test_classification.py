"""Cross-entropy of tokens against torch's, and the objective that reports the accuracy."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from timm.data.mixup import mixup_target
from timm.loss import SoftTargetCrossEntropy

from maskmim.losses.classification import (
    SmoothingError,
    binary_cross_entropy,
    cross_entropy,
    smoothed_cross_entropy,
)
from maskmim.objectives.classification import accuracy, classify
from maskmim.types import Mask, View
from tests.tolerances import PARITY


def random_logits():
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(2, 5, 7)).astype(np.float32)
    return logits, rng.integers(0, 7, (2, 5)).astype(np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_torch(smoothing):
    logits, classes = random_logits()
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).reshape(-1, 7),
        torch.from_numpy(classes).long().reshape(-1),
        label_smoothing=smoothing,
        reduction="none",
    )
    loss = cross_entropy(logits, classes, smoothing=smoothing)
    assert loss.shape == (2, 5)
    np.testing.assert_allclose(np.ravel(loss), expected, rtol=PARITY)


def test_a_share_that_cannot_be_is_an_error():
    with pytest.raises(SmoothingError, match=r"smoothing 1\.0"):
        cross_entropy(*random_logits(), smoothing=1.0)


def test_the_objective_weighs_tokens_and_tells_the_share_that_is_right():
    logits, classes = random_logits()
    weight = np.array([[1, 0, 1, 1, 0], [1, 1, 0, 0, 1]], np.float32)
    tokens = np.tile(np.arange(5, dtype=np.int32), (2, 1))
    mask = Mask(tokens, tokens, np.zeros((2, 5), bool), weight)
    view = View(None, None, None, mask, None, {"codes": jnp.asarray(logits)}, {})
    per_token, weights, metrics, _ = classify(head="codes", target=lambda view: classes).find(view)
    np.testing.assert_array_equal(weights, weight)
    np.testing.assert_allclose(per_token, cross_entropy(logits, classes))
    right = logits.argmax(-1) == classes
    np.testing.assert_array_equal(accuracy(logits, classes), right)
    share = (right * weight).sum() / weight.sum()
    np.testing.assert_allclose(metrics["accuracy"].value, share, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_targets_equal_timm(smoothing):
    """The targets are mixed from smoothed ones in timm, and smoothed after they are mixed here."""
    logits, classes = random_logits()
    flat = torch.from_numpy(logits).reshape(-1, 7)
    theirs = mixup_target(torch.from_numpy(classes).reshape(-1), 7, 0.3, smoothing)
    expected = torch.sum(-theirs * torch.log_softmax(flat, -1), -1)
    assert SoftTargetCrossEntropy()(flat, theirs) == expected.mean()
    mixed = mixup_target(torch.from_numpy(classes).reshape(-1), 7, 0.3).numpy().reshape(2, 5, 7)
    loss = smoothed_cross_entropy(logits, mixed, smoothing=smoothing)
    np.testing.assert_allclose(np.ravel(loss), expected, rtol=PARITY)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy_equals_torch(smoothing):
    logits, _ = random_logits()
    shares = np.random.default_rng(1).uniform(size=logits.shape).astype(np.float32)
    target = torch.from_numpy(shares) * (1 - smoothing) + 0.5 * smoothing
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits), target, reduction="none"
    )
    loss = binary_cross_entropy(logits, shares, smoothing=smoothing)
    np.testing.assert_allclose(loss, expected, rtol=PARITY)


@pytest.mark.parametrize("loss", [smoothed_cross_entropy, binary_cross_entropy])
def test_soft_losses_refuse_such_a_share_too(loss):
    logits, _ = random_logits()
    with pytest.raises(SmoothingError, match="give a number"):
        loss(logits, logits, smoothing=-0.1)
