"""SGD, LARS, LAMB, Lion, Adafactor and Muon against optax's own, and what they all share."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.contrib import muon as optax_muon

from maskmim import optim
from maskmim.schedules.warmup import Span, Timed, warmup_cosine
from maskmim.tree_paths import named_leaves

NEW = (optim.sgd, optim.lars, optim.lamb, optim.lion, optim.adafactor, optim.muon)
NO_BIAS = (r"bias$",)


def constant(step):
    return 1.0


def draw(seed: int, shapes: dict[str, tuple[int, ...]]):
    rng = np.random.default_rng(seed)
    return {n: jnp.asarray(rng.normal(size=s), jnp.float32) for n, s in shapes.items()}


def run(optimiser, params, steps: int = 4):
    """Parameters after some steps of fixed gradients."""
    shapes = {name: value.shape for name, value in params.items()}
    state = optimiser.init(params)
    for step in range(steps):
        updates, state = optimiser.update(draw(step + 1, shapes), state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_same(ours, theirs, shapes):
    params = draw(0, shapes)
    got, expected = run(ours, params), run(theirs, params)
    for name in shapes:
        np.testing.assert_allclose(got[name], expected[name], rtol=2e-5, atol=1e-6, err_msg=name)
        assert np.abs(got[name] - params[name]).max() > 1e-4, name


FLAT = {"kernel": (6, 5), "bias": (5,)}
KERNELS_ONLY = {"kernel": True, "bias": False}


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_optaxs_with_torchs_decay(nesterov):
    ours = optim.sgd(constant, 128, lr=0.2, momentum=0.8, nesterov=nesterov, weight_decay=0.1)
    decay = optax.add_decayed_weights(0.1, KERNELS_ONLY)
    assert_same(ours, optax.chain(decay, optax.sgd(0.1, 0.8, nesterov)), FLAT)


def test_lars_is_optaxs_at_a_constant_rate():
    ours = optim.lars(constant, 256, lr=0.5, weight_decay=0.1, trust_coefficient=0.02)
    theirs = optax.lars(0.5, 0.1, KERNELS_ONLY, 0.02, trust_ratio_mask=KERNELS_ONLY)
    assert_same(ours, theirs, FLAT)


def test_lamb_is_optaxs():
    ours = optim.lamb(constant, 256, lr=0.01, weight_decay=0.1, no_decay=(), clip_norm=float("inf"))
    assert_same(ours, optax.lamb(0.01, weight_decay=0.1), FLAT)


def test_lion_is_optaxs():
    ours = optim.lion(constant, 256, lr=0.01, weight_decay=0.3)
    assert_same(ours, optax.lion(0.01, 0.9, 0.99, weight_decay=0.3, mask=KERNELS_ONLY), FLAT)


def test_adafactor_is_optaxs_without_scaling_by_parameters():
    ours = optim.adafactor(constant, 256, lr=0.01, weight_decay=0.0, smallest_factored=4)
    theirs = optax.adafactor(
        0.01, min_dim_size_to_factor=4, multiply_by_parameter_scale=False, momentum=0.9
    )
    assert_same(ours, theirs, FLAT)


def test_muon_of_each_block_is_optaxs_of_one_matrix():
    shapes = {"blocks/mlp/up/kernel": (3, 6, 4), "bias": (5,), "embed/kernel": (6, 4)}
    ours = optim.muon(constant, 256, lr=0.01, weight_decay=0.1, no_decay=NO_BIAS)
    params = draw(0, shapes)
    got = run(ours, params)
    for block in range(3):
        theirs = optax_muon(0.01, weight_decay=0.1, consistent_rms=0.2)
        one = {"x": params["blocks/mlp/up/kernel"][block]}
        state = theirs.init(one)
        for step in range(4):
            gradient = {"x": draw(step + 1, shapes)["blocks/mlp/up/kernel"][block]}
            updates, state = theirs.update(gradient, state, one)
            one = optax.apply_updates(one, updates)
        np.testing.assert_allclose(got["blocks/mlp/up/kernel"][block], one["x"], rtol=1e-4)
    rest = {name: params[name] for name in ("bias", "embed/kernel")}
    mask = {"bias": False, "embed/kernel": True}
    adam = optax.adamw(0.01, 0.9, 0.95, weight_decay=0.1, mask=mask, nesterov=True)
    state = adam.init(rest)
    for step in range(4):
        gradients = {name: draw(step + 1, shapes)[name] for name in rest}
        updates, state = adam.update(gradients, state, rest)
        rest = optax.apply_updates(rest, updates)
    for name, expected in rest.items():
        np.testing.assert_allclose(got[name], expected, rtol=1e-4, atol=1e-6)


def test_the_matrices_of_muon_are_those_of_a_transformer():
    shapes = {
        "blocks/attention/qkv/kernel": (2, 8, 3, 2, 4),
        "blocks/attention/out/kernel": (2, 2, 4, 8),
        "blocks/attention/qkv/bias": (2, 3, 2, 4),
    }
    params = draw(0, shapes)
    optimiser = optim.muon(constant, 256, lr=1.0, momentum=0.0, weight_decay=0.0)
    updates, _ = optimiser.update(params, optimiser.init(params), params)
    qkv = np.asarray(updates["blocks/attention/qkv/kernel"])
    out = np.asarray(updates["blocks/attention/out/kernel"])
    for step in (qkv[1, :, 2].reshape(8, 8), out[0].reshape(8, 8)):
        values = np.linalg.svd(step, compute_uv=False) / (0.2 * np.sqrt(8))
        assert values.min() > 0.3 and values.max() < 1.3, values


@pytest.mark.parametrize("make", [optim.lars, optim.lamb, optim.adafactor])
def test_stacked_blocks_are_rescaled_one_by_one(make):
    """One array of two blocks moves as two arrays of one block each do."""
    shape = (2, 4, 3)
    stacked = {"blocks/kernel": draw(0, {"x": shape})["x"] * jnp.array([1.0, 9.0])[:, None, None]}
    optimiser = make(constant, 256, lr=0.1, clip_norm=float("inf"))
    both = run(optimiser, stacked)["blocks/kernel"]
    for block in range(2):
        alone = {"kernel": stacked["blocks/kernel"][block]}
        state = optimiser.init(alone)
        for step in range(4):
            gradient = draw(step + 1, {"blocks/kernel": shape})["blocks/kernel"][block]
            updates, state = optimiser.update({"kernel": gradient}, state, alone)
            alone = optax.apply_updates(alone, updates)
        np.testing.assert_allclose(both[block], alone["kernel"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", NEW)
def test_rate_groups_decay_and_clipping_are_shared(make):
    shapes = {"kernel": (4, 3), "bias": (3,), "head/kernel": (4, 3)}
    params = draw(0, shapes)
    steps = warmup_cosine(Span(10, 1.0), warmup_epochs=2)
    schedule = Timed(Span(10, 1.0), steps)
    plain = make(schedule, 512, lr=0.01, weight_decay=0.0)
    halved = make(schedule, 512, lr=0.01, weight_decay=0.0, rates=((r"^head/", 0.5),))
    absolute = make(schedule, 512, lr=0.02, lr_per=0, weight_decay=0.0)
    got = [_second_update(each, params) for each in (plain, halved, absolute)]
    for name in shapes:
        factor = 0.5 if name.startswith("head/") else 1.0
        np.testing.assert_allclose(got[1][name], factor * got[0][name], rtol=1e-5)
        np.testing.assert_allclose(got[2][name], got[0][name], rtol=1e-5)


def _second_update(optimiser, params):
    """The second update, as the schedule starts at 0."""
    state = optimiser.init(params)
    for _ in range(2):
        updates, state = optimiser.update(params, state, params)
    return updates


@pytest.mark.parametrize("make", NEW)
def test_biases_are_not_decayed(make):
    params = {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    optimiser = make(constant, 256, weight_decay=0.5)
    updates, _ = optimiser.update(zeros, optimiser.init(params), params)
    moved = {name: float(np.abs(update).max()) > 0 for name, update in named_leaves(updates)}
    assert moved == {"kernel": True, "bias": False}
