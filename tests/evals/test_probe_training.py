"""The training of the probe against a torch version of MAE's protocol."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from maskmim.evals import probe_training
from maskmim.evals.features import FeatureError, Unsuitable
from maskmim.evals.probe_optimisers import lars, sgd
from maskmim.evals.probe_training import (
    Plan,
    Protocol,
    initial_layers,
    score_sweep,
    train_sweep,
    training_plan,
)
from tests.evals.planted import CLASSES, clusters
from tests.tolerances import PARITY

COUNTS = tuple((name, len(CLASSES[name])) for name in sorted(CLASSES))
PLAN = Plan(batch=37, steps=400 // 37, epochs=4, warmup_epochs=1)
KEY = jax.random.key(3)


@pytest.fixture(autouse=True)
def one_torch_thread():
    """Steps this small only lose time to threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rate_at(epoch: float, peak: float) -> float:
    """MAE's schedule at a fractional epoch."""
    if epoch < PLAN.warmup_epochs:
        return peak * epoch / PLAN.warmup_epochs
    rest = (epoch - PLAN.warmup_epochs) / (PLAN.epochs - PLAN.warmup_epochs)
    return peak * 0.5 * (1 + math.cos(math.pi * rest))


def torch_lars(parameters, memory, rate):
    """MAE's rule: trust ratio for matrices, then momentum, then the rate."""
    for parameter, moment in zip(parameters, memory, strict=True):
        change = parameter.grad
        if parameter.ndim > 1:
            lengths = float(parameter.norm()), float(change.norm())
            change = change * (0.001 * lengths[0] / lengths[1] if all(lengths) else 1.0)
        moment.mul_(0.9).add_(change)
        parameter.sub_(rate * moment)


def torch_sgd(parameters, memory, rate):
    for parameter, moment in zip(parameters, memory, strict=True):
        moment.mul_(0.9).add_(parameter.grad)
        parameter.sub_(rate * moment)


def torch_probe(split, name, peak, update):
    """BatchNorm1d and Linear trained as MAE does, in our order of images, from our weights."""
    width, classes = split.features.shape[1], len(CLASSES[name])
    norm = torch.nn.BatchNorm1d(width, affine=False, eps=1e-6)
    linear = torch.nn.Linear(width, classes)
    start = initial_layers(jax.random.fold_in(KEY, 0), width, COUNTS)[name]
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(np.array(start["kernel"]).T))
        linear.bias.zero_()
    memory = [torch.zeros_like(linear.weight), torch.zeros_like(linear.bias)]
    features, labels = torch.from_numpy(split.features), torch.from_numpy(split.labels[name])
    for epoch in range(PLAN.epochs):
        order = np.array(jax.random.permutation(jax.random.fold_in(KEY, epoch + 1), len(features)))
        for step in range(PLAN.steps):
            rows = order[step * PLAN.batch : (step + 1) * PLAN.batch]
            loss = torch.nn.functional.cross_entropy(
                linear(norm(features[rows])), labels[rows].long()
            )
            linear.zero_grad()
            loss.backward()
            with torch.no_grad():
                rate = rate_at(epoch + step / PLAN.steps, peak)
                update([linear.weight, linear.bias], memory, rate)
    return norm.eval(), linear


def same(found, expected) -> None:
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, atol=PARITY * np.abs(expected).max())


@pytest.mark.proves(3, "linear probe: BatchNorm, LARS and schedule of the official protocol")
@pytest.mark.parametrize(
    ("solver", "update", "peaks"), [(lars, torch_lars, (0.5, 3.0)), (sgd, torch_sgd, (0.01, 0.3))]
)
def test_the_whole_training_agrees_with_torch(solver, update, peaks):
    data = clusters(noise=2.0)
    rates = {name: jnp.asarray(peaks) for name in CLASSES}
    found = train_sweep(*data.train, rates, KEY, classes=COUNTS, plan=PLAN, solver=solver)
    for place, peak in enumerate(peaks):
        for name in CLASSES:
            norm, linear = torch_probe(data.train, name, peak, update)
            same(found.mean, norm.running_mean)
            same(found.variance, norm.running_var)
            same(found.params[name]["kernel"][place], linear.weight.detach().T)
            same(found.params[name]["bias"][place], linear.bias.detach())
            with torch.no_grad():
                logits = linear(norm(torch.from_numpy(data.test.features)))
                wanted = torch.from_numpy(data.test.labels[name]).long()
                loss = torch.nn.functional.cross_entropy(logits, wanted)
                right = (logits.argmax(1) == wanted).double().mean()
            top1, losses = score_sweep(found, name, data.test, np.arange(len(data.test.features)))
            assert top1[place] == pytest.approx(float(right))
            same(losses[place], float(loss))


def test_lars_differs_from_optax_lars_only_in_the_place_of_the_rate():
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    gradient = {"kernel": jnp.arange(6.0).reshape(3, 2), "bias": jnp.ones(2)}
    schedule = optax.linear_schedule(1.0, 0.0, 4)
    only_matrices = {"kernel": True, "bias": False}

    def path(solver):
        state, here = solver.init(params), params
        for _ in range(3):
            updates, state = solver.update(gradient, state, here)
            here = optax.apply_updates(here, updates)
        return here

    constant = functools.partial(optax.lars, trust_ratio_mask=only_matrices)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        path(lars(lambda step: 0.5)),
        path(constant(0.5)),
    )
    assert not np.allclose(path(lars(schedule))["bias"], path(constant(schedule))["bias"])


def test_learning_rates_and_label_sets_do_not_touch_each_other():
    data = clusters(noise=2.0)
    run = functools.partial(train_sweep, plan=PLAN, solver=lars)
    both = run(
        *data.train, {name: jnp.asarray((1.0, 10.0)) for name in CLASSES}, KEY, classes=COUNTS
    )
    alone = run(*data.train, {name: jnp.asarray((10.0,)) for name in CLASSES}, KEY, classes=COUNTS)
    for name in CLASSES:
        same(both.params[name]["kernel"][1], alone.params[name]["kernel"][0])


def test_training_is_traced_once():
    traced = []

    def counting(rate):
        traced.append(1)
        return sgd(rate)

    data = clusters(noise=1.0)
    rates = {name: jnp.asarray((0.01, 0.1)) for name in CLASSES}
    run = functools.partial(train_sweep, classes=COUNTS, plan=PLAN, solver=counting)
    run(*data.train, rates, jax.random.key(0))
    first = len(traced)
    run(*data.train, jax.tree.map(lambda rate: 2 * rate, rates), jax.random.key(1))
    assert len(traced) == first > 0


def test_plans():
    protocol = Protocol(epochs=90, warmup_epochs=10, batch_size=16_384, least_steps=8)
    assert training_plan(1_281_167, protocol)[:2] == (16_384, 78)
    assert training_plan(2_936, protocol)[:2] == (367, 8)
    assert training_plan(16, protocol)[:2] == (2, 8)
    with pytest.raises(Unsuitable, match=r"needs 16 training images.*this set has 15"):
        training_plan(15, protocol)
    with pytest.raises(FeatureError, match="warmup_epochs = 90"):
        training_plan(100, protocol._replace(warmup_epochs=90))


def test_scores_come_in_chunks_of_any_remainder():
    data = clusters(noise=2.0, test=2500)
    rates = {name: jnp.asarray((10.0,)) for name in CLASSES}
    found = train_sweep(*data.train, rates, KEY, classes=COUNTS, plan=PLAN, solver=lars)
    layer = jax.tree.map(np.asarray, found.params["fine"])
    inputs = (data.test.features - found.mean) / np.sqrt(found.variance + probe_training.EPSILON)
    expected = (inputs @ layer["kernel"][0] + layer["bias"][0]).argmax(axis=1)
    top1, _ = score_sweep(found, "fine", data.test, np.arange(2500))
    assert top1[0] == pytest.approx((expected == data.test.labels["fine"]).mean())
