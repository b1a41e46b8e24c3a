"""AdamW against its equations in numpy, and which parameters are decayed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.optim.adam import adamw
from maskmim.optim.compose import peak_learning_rate
from maskmim.schedules.warmup import Span, warmup_constant, warmup_cosine
from maskmim.tree_paths import named_leaves
from tests.tiny import tiny_method


def test_the_rate_scales_with_the_batch():
    assert peak_learning_rate(1.5e-4, 256, 4096) == pytest.approx(2.4e-3)
    assert peak_learning_rate(1e-3, 0, 4096) == 1e-3


def test_the_schedule_is_maes():
    """util/lr_sched.py: linear to the peak over the warm-up, then half a cosine to 0."""
    schedule = warmup_cosine(Span(1000, 10.0), warmup_epochs=40)
    for step in (0, 100, 399, 400, 700, 999):
        epoch = step / 10
        cosine = 0.5 * (1 + np.cos(np.pi * (epoch - 40) / (100 - 40)))
        expected = epoch / 40 if epoch < 40 else cosine
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)
    from_a_fifth = warmup_cosine(Span(1000, 10.0), warmup_epochs=40, initial=0.2, final=0.1)
    for step, expected in ((0, 0.2), (100, 0.4), (400, 1.0), (700, 0.55), (1000, 0.1)):
        assert float(from_a_fifth(step)) == pytest.approx(expected, abs=1e-6)
    longer = warmup_cosine(Span(1000, 10.0), warmup_epochs=40, stretch=1.25)
    end = 0.5 * (1 + np.cos(np.pi * 600 / 850))
    assert float(longer(1000)) == pytest.approx(end, abs=1e-6)
    assert float(longer(400)) == 1.0
    assert float(warmup_constant(Span(100, 10.0), warmup_epochs=2)(50)) == 1.0


def test_the_rate_may_begin_and_end_above_zero():
    """adjust_learning_rate of yibingwei-1/LatentMIM: a floor below the warm-up and the cosine."""
    schedule = warmup_cosine(Span(1000, 10.0), warmup_epochs=40, initial=0.25, final=0.25)
    for step in (0, 100, 399, 400, 700, 999):
        epoch = step / 10
        cosine = 0.5 * (1 + np.cos(np.pi * (epoch - 40) / (100 - 40)))
        expected = 0.25 + 0.75 * (epoch / 40 if epoch < 40 else cosine)
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)


def test_a_warmup_longer_than_the_training_is_refused():
    with pytest.raises(ValueError, match=r"warmup_epochs = 40 is 400 steps.*has 100"):
        warmup_cosine(Span(100, 10.0), warmup_epochs=40)


def test_adamw_in_numpy():
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    optimiser = adamw(lambda step: 1.0, 512, lr=0.01, b1=0.9, b2=0.95, weight_decay=0.05)
    jax_params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    state = optimiser.init(jax_params)
    first, second = ({n: np.zeros_like(p) for n, p in params.items()} for _ in range(2))
    for step in range(1, 6):
        grads = {name: rng.normal(size=value.shape) for name, value in params.items()}
        updates, state = optimiser.update(
            jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), grads), state, jax_params
        )
        jax_params = jax.tree.map(jnp.add, jax_params, updates)
        for name, grad in grads.items():
            first[name] = 0.9 * first[name] + 0.1 * grad
            second[name] = 0.95 * second[name] + 0.05 * grad**2
            update = (
                first[name] / (1 - 0.9**step) / (np.sqrt(second[name] / (1 - 0.95**step)) + 1e-8)
            )
            decay = 0.05 * params[name] if name == "kernel" else 0
            params[name] = params[name] - 0.02 * (update + decay)
    for name, expected in params.items():
        np.testing.assert_allclose(jax_params[name], expected, rtol=1e-5)


def test_biases_and_norms_are_not_decayed_tokens_and_kernels_are():
    params = tiny_method().variables(jax.random.key(0)).params
    optimiser = adamw(lambda step: 1.0, 256, lr=0.1, weight_decay=0.5)
    updates, _ = optimiser.update(
        jax.tree.map(jnp.zeros_like, params), optimiser.init(params), params
    )
    decayed = {name for name, update in named_leaves(updates) if np.any(np.asarray(update))}
    for name, _ in named_leaves(params):
        last = name.rsplit("/", 1)[-1]
        assert (name in decayed) == (last in ("kernel", "class_token", "mask_token")), name
    assert {"encoder/class_token", "decoder/mask_token"} <= decayed
