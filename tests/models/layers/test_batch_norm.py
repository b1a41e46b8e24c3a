"""Batch norms against torch: in training, in evaluation, with padding, over several steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.models.layers.batch_norm import (
    NORMS,
    SUMS,
    BatchNorm,
    BatchSums,
    batch_moments,
    updated_average,
)
from maskmim.models.layers.errors import ModelError
from tests.tolerances import PARITY

SHAPE = (6, 5, 4, 3)


def arrays(steps=1, shape=SHAPE, mean=2.0, std=3.0, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(mean, std, shape).astype(np.float32) for _ in range(steps)]


def torch_norm(**options):
    norm = torch.nn.BatchNorm2d(SHAPE[-1], **options)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        norm.bias.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    return norm


PARAMS = {"scale": np.float32([0.5, 1.0, 2.0]), "bias": np.float32([-1.0, 0.0, 1.0])}


def in_torch(norm, x):
    return norm(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def train(norm, x, **options):
    """Return the result and the sums of a batch."""
    out, written = norm.apply({"params": PARAMS}, x, mutable=(SUMS,), **options)
    return out, written[SUMS]["batch"]


def close(ours, theirs, tolerance=PARITY):
    theirs = np.asarray(theirs.detach() if isinstance(theirs, torch.Tensor) else theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("mean", [0.0, 2.0, 1000.0])
def test_training_and_its_gradients_are_torchs(mean):
    (x,), (cotangent,) = arrays(mean=mean), arrays(mean=0.0, seed=1)
    theirs_x = torch.tensor(x, requires_grad=True)
    theirs = torch_norm()
    out = theirs(theirs_x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    out.backward(torch.tensor(cotangent))

    def ours(params, x):
        return BatchNorm().apply({"params": params}, x)

    result, back = jax.vjp(ours, PARAMS, jnp.asarray(x))
    grads, of_x = back(jnp.asarray(cotangent))
    close(result, out)
    close(of_x, theirs_x.grad, 10 * PARITY if mean == 1000 else PARITY)
    close(grads["scale"], theirs.weight.grad, 10 * PARITY if mean == 1000 else PARITY)
    close(grads["bias"], theirs.bias.grad)


@pytest.mark.parametrize("momentum", [0.1, 0.3])
@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_running_averages_over_several_steps_and_evaluation_are_torchs(momentum, mean):
    theirs = torch_norm(momentum=momentum)
    averages = {"mean": jnp.zeros(3), "variance": jnp.ones(3)}
    update = partial(updated_average, momentum=1 - momentum)
    for x in arrays(steps=5, mean=mean):
        in_torch(theirs, x)
        _, sums = train(BatchNorm(), x)
        averages = update(averages, sums)
    close(averages["mean"], theirs.running_mean)
    close(averages["variance"], theirs.running_var)
    (x,) = arrays(mean=mean, seed=9)
    ours = BatchNorm().apply({"params": PARAMS, NORMS: averages}, x)
    close(ours, in_torch(theirs.eval(), x))


def test_evaluation_does_not_depend_on_the_batch_and_writes_no_sums():
    averages = {"mean": jnp.full(3, 2.0), "variance": jnp.full(3, 4.0)}
    (x,) = arrays()
    variables = {"params": PARAMS, NORMS: averages}
    whole, written = BatchNorm().apply(variables, x, mutable=(SUMS,))
    assert not written
    np.testing.assert_array_equal(whole[:1], BatchNorm().apply(variables, x[:1]))
    close(whole, (x - 2) / np.sqrt(4 + 1e-5) * PARAMS["scale"] + PARAMS["bias"])


def test_two_micro_batches_average_the_variances_within_each():
    one, two = arrays(2)
    sums = [train(BatchNorm(), x)[1] for x in (one, two)]
    added = jax.tree.map(jnp.add, *sums)
    averages = updated_average({"mean": jnp.zeros(3), "variance": jnp.ones(3)}, added, momentum=0.0)
    close(averages["mean"], np.concatenate([one, two]).mean((0, 1, 2)))
    close(averages["variance"], np.mean([x.var((0, 1, 2), ddof=1) for x in (one, two)], 0))


def test_a_norm_that_is_called_twice_adds_its_sums():
    norm = BatchNorm()
    one, two = arrays(2)

    def both(module, a, b):
        return module(a), module(b)

    variables = {"params": PARAMS}
    _, written = norm.apply(variables, one, two, mutable=(SUMS,), method=both)
    expected = jax.tree.map(jnp.add, *(train(norm, x)[1] for x in (one, two)))
    jax.tree.map(lambda a, b: close(a, np.asarray(b)), written[SUMS]["batch"], expected)
    assert float(written[SUMS]["batch"].calls) == 2


def test_what_is_absent_changes_nothing():
    """Padding of any content, nan too, enters neither statistics nor gradients of the others."""
    (x,) = arrays()
    present = np.random.default_rng(3).random(SHAPE[:3]) < 0.6
    padded = np.where(present[..., None], x, np.nan)
    out, sums = train(BatchNorm(), padded, present=jnp.asarray(present))
    chosen = x[present]
    alone, expected = train(BatchNorm(), chosen)
    close(np.asarray(out)[present], np.asarray(alone))
    jax.tree.map(lambda a, b: close(a, np.asarray(b)), sums, expected)
    theirs = torch.nn.BatchNorm1d(3)
    theirs.load_state_dict(torch_norm().state_dict())
    close(np.asarray(out)[present], theirs(torch.tensor(chosen)))


def test_a_step_without_a_present_value_keeps_the_averages():
    (x,) = arrays()
    _, sums = train(BatchNorm(), x, present=jnp.zeros(SHAPE[:3], bool))
    averages = {"mean": jnp.arange(3.0), "variance": jnp.arange(1.0, 4.0)}
    kept = updated_average(averages, sums, momentum=0.9)
    jax.tree.map(np.testing.assert_array_equal, kept, averages)


def test_statistics_are_float32_under_bfloat16():
    (x,) = arrays(mean=100.0, std=1.0)
    x = jnp.asarray(x, jnp.bfloat16)
    moments, sums = batch_moments(x)
    wide = np.asarray(x, np.float64)
    close(moments.mean, wide.mean((0, 1, 2)))
    close(moments.variance, wide.var((0, 1, 2)))
    assert {leaf.dtype for leaf in jax.tree.leaves((moments, sums))} == {jnp.dtype("float32")}
    assert BatchNorm(dtype=jnp.bfloat16).apply({"params": PARAMS}, x).dtype == jnp.bfloat16


def test_stacked_norms_are_averaged_each_for_itself():
    """Layers in a loop have their sums and averages along a first axis."""
    batches = arrays(3)
    sums = [train(BatchNorm(), x)[1] for x in batches]
    start = {"mean": jnp.zeros(3), "variance": jnp.ones(3)}
    apart = [updated_average(start, each, momentum=0.9) for each in sums]
    stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)  # noqa: E731
    together = updated_average(stack([start] * 3), BatchSums(*stack(sums)), momentum=0.9)
    jax.tree.map(lambda a, b: close(a, np.asarray(b)), together, stack(apart))


def test_one_value_a_channel_is_refused_in_training_only():
    norm, x = BatchNorm(), np.ones((1, 3), np.float32)
    assert set(norm.init(jax.random.key(0), x)) == {"params", NORMS}
    with pytest.raises(ModelError, match=r"one value for each channel.*more examples"):
        norm.apply({"params": PARAMS}, x)
    averages = {"mean": jnp.zeros(3), "variance": jnp.ones(3)}
    assert norm.apply({"params": PARAMS, NORMS: averages}, x).shape == (1, 3)
