"""Mixup and CutMix against timm with equal draws, and what they do not depend on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup

from maskmim.methods.masked import MethodError
from maskmim.methods.mixing import Draw, mix, mix_shares, mixup_or_cutmix, partners
from maskmim.types import Randomness
from tests.tolerances import SIGNIFICANCE

SHAPE = (12, 10, 8, 3)


def inputs(shape=SHAPE, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def randomness(examples=SHAPE[0], seed=0):
    return Randomness.of(jax.random.key(seed), examples)


@pytest.mark.parametrize("cuts", [False, True])
@pytest.mark.parametrize("share", [0.05, 0.37, 0.5, 0.93])
def test_equals_timm_with_equal_draws(monkeypatch, cuts, share):
    """timm's partner of slot s of two is slot 1 - s, and ours too."""
    centre = {10: 8, 7: 1}
    monkeypatch.setattr(np.random, "rand", lambda *_: 0.0 if cuts else 0.9)
    monkeypatch.setattr(np.random, "beta", lambda *_: share)
    monkeypatch.setattr(np.random, "randint", lambda low, high, size=None: centre[high])
    pictures, classes = inputs((2, 10, 7, 3)), np.array([1, 3])
    timm = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, switch_prob=0.5, num_classes=5)
    timm.label_smoothing = 0.0
    expected, target = timm(
        torch.tensor(np.moveaxis(np.asarray(pictures), -1, 1)), torch.tensor(classes)
    )
    drawn = Draw(*(jnp.full(2, value) for value in (share, cuts, centre[10], centre[7])))
    mixed = mix(pictures, drawn)
    np.testing.assert_allclose(mixed.inputs, np.moveaxis(expected.numpy(), 1, -1), atol=1e-6)
    shares = mix_shares(jax.nn.one_hot(classes, 5), mixed.share)
    np.testing.assert_allclose(shares, target.numpy(), atol=1e-6)


@pytest.mark.parametrize("per", ["batch", "example"])
def test_nothing_depends_on_micro_batches(per):
    """Examples are dealt to micro-batches in turn; each has an even number."""
    whole = mixup_or_cutmix(randomness(), inputs(), per=per)
    parts = 3
    for part in range(parts):
        own = Randomness(randomness().key, randomness().slots[part::parts])
        mixed = mixup_or_cutmix(own, inputs()[part::parts], per=per)
        np.testing.assert_array_equal(mixed.inputs, whole.inputs[part::parts])
        np.testing.assert_array_equal(mixed.share, whole.share[part::parts])


def test_one_draw_for_the_batch_or_one_for_each_example():
    each = mixup_or_cutmix(randomness(), inputs(), per="example").share
    assert len(np.unique(each)) > 6
    for seed in range(4):
        together = mixup_or_cutmix(randomness(seed=seed), inputs(), cutmix=0.0).share
        assert len(np.unique(together)) == 1


def test_the_share_is_that_of_the_pixels():
    """Each example is one number, so that a mixed picture says how much of each is in it."""
    values = jnp.arange(12.0)
    pictures = jnp.broadcast_to(values[:, None, None, None], (12, 16, 16, 1))
    mixed = mixup_or_cutmix(randomness(), pictures, per="example")
    expected = mixed.share * values + (1 - mixed.share) * partners(values)
    np.testing.assert_allclose(mixed.inputs.mean(axis=(1, 2, 3)), expected, rtol=1e-5)
    np.testing.assert_array_equal(partners(partners(values)), values)


def test_shares_are_of_the_beta_distribution_and_chances_are_kept():
    from scipy import stats

    draw = jax.jit(partial(mixup_or_cutmix, per="example", chance=0.5, cutmix=0.0))
    many = inputs((4096, 1, 1, 1))
    share = np.asarray(draw(randomness(4096), many).share)
    assert stats.binomtest(int(np.sum(share < 1)), 4096, 0.5).pvalue > SIGNIFICANCE
    assert stats.kstest(share[share < 1], stats.beta(0.8, 0.8).cdf).pvalue > SIGNIFICANCE


def test_clips_are_cut_alike_in_every_frame():
    clip = jnp.broadcast_to(inputs((4, 1, 8, 8, 1)), (4, 3, 8, 8, 1))
    mixed = mixup_or_cutmix(randomness(4), clip, mixup=0.0).inputs
    np.testing.assert_array_equal(mixed, jnp.broadcast_to(mixed[:, :1], mixed.shape))


def test_refuses_what_it_cannot_mix():
    with pytest.raises(MethodError, match="mix=None"):
        mixup_or_cutmix(randomness(4), inputs((4, 7, 3)))
    with pytest.raises(MethodError, match="both 0"):
        mixup_or_cutmix(randomness(), inputs(), mixup=0.0, cutmix=0.0)
