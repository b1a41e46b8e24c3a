"""DINO's optimiser against torch's AdamW, driven as the official loop drives it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.optim.dino import adamw_dino, clip_array
from maskmim.schedules.warmup import Span, Timed, warmup_cosine
from maskmim.teachers.momentum import cosine
from tests.golden.attmask import case

pytestmark = pytest.mark.full

GOLDEN = np.load(case.GOLDEN)
STEPS, WAIT = 12, 4
SPAN = Span(STEPS, float(WAIT))
SHAPES = {
    "decoder/first/kernel": (3, 4),
    "decoder/first/bias": (4,),
    "decoder/last/kernel": (4, 5),
    "encoder/norm/norm/scale": (4,),
}
RATE = 0.02


def torch_params(rng: np.random.Generator, decay: tuple[float, ...], rates: tuple[float, ...]):
    """Yield (params, gradients) of every step of torch's AdamW in the official loop."""
    params = {
        name: torch.nn.Parameter(torch.from_numpy(rng.normal(size=shape)))
        for name, shape in SHAPES.items()
    }
    decayed = [p for name, p in params.items() if name.endswith("kernel")]
    not_decayed = [p for name, p in params.items() if not name.endswith("kernel")]
    groups = [{"params": decayed}, {"params": not_decayed, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups)
    yield {name: p.detach().numpy().copy() for name, p in params.items()}, None
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = rates[step]
        optimiser.param_groups[0]["weight_decay"] = decay[step]
        gradients = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
        for name, parameter in params.items():
            gradient = torch.from_numpy(gradients[name])
            gradient = gradient * min(1.0, 1.5 / (gradient.norm().item() + 1e-6))
            parameter.grad = None if step < WAIT and "last" in name else gradient
        optimiser.step()
        yield {name: p.detach().numpy().copy() for name, p in params.items()}, gradients


@pytest.mark.proves(82, "weight decay rises, gradients are clipped apart, the last layer waits")
@pytest.mark.parametrize("stretch", [1.0, 1.25])
def test_every_step_equals_torchs(stretch):
    schedule = Timed(SPAN, warmup_cosine(SPAN, warmup_epochs=0.5, final=0.1))
    rates = tuple(RATE * float(schedule(step)) for step in range(STEPS))
    rise = 0.5 * (1 + np.cos(np.pi * np.arange(STEPS) / (STEPS * stretch)))
    run = torch_params(np.random.default_rng(0), tuple(0.4 + (0.04 - 0.4) * rise), rates)
    optimiser = adamw_dino(schedule, 512, lr=RATE / 2, clip_norm=1.5, stretch=stretch)
    to_jax = partial(jax.tree.map, lambda x: jnp.asarray(x, jnp.float32))
    params = to_jax(next(run)[0])
    state = optimiser.init(params)
    step = jax.jit(optimiser.update)
    for expected, gradients in run:
        updates, state = step(to_jax(gradients), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        for name, value in expected.items():
            np.testing.assert_allclose(params[name], value, rtol=2e-5, atol=1e-6, err_msg=name)


def test_gradients_are_clipped_as_the_official_ones():
    """The official code clips array by array; our arrays stack the blocks."""
    gradients = case.split(GOLDEN["gradients"])
    norms = dict(zip(gradients, GOLDEN["clipped"], strict=True))
    assert min(norms.values()) < 0.9 * case.CLIP < case.CLIP < 1.001 * max(norms.values())
    del norms["backbone.pos_embed"]  # The official norm includes the position of the class token.
    for name, norm in norms.items():
        clipped = clip_array(name.replace("blocks", "block"), gradients[name], case.CLIP)
        np.testing.assert_allclose(np.linalg.norm(clipped), norm, rtol=1e-4, err_msg=name)
    stacked = np.stack([3.0 * np.ones(4), 0.1 * np.ones(4)])
    both = clip_array("encoder/stack/blocks/mlp/up/bias", jnp.asarray(stacked), 1.0)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), [1.0, 0.2], rtol=1e-5)


def test_schedules_equal_the_official_ones():
    steps = np.arange(70)
    momentum = jax.vmap(partial(cosine, start=0.996))(jnp.arange(70) / 70)
    np.testing.assert_allclose(momentum, GOLDEN["momentum"], rtol=1e-6)
    rise = 0.4 + (0.04 - 0.4) * 0.5 * (1 + np.cos(np.pi * steps / 70))
    np.testing.assert_allclose(rise, GOLDEN["decay"], rtol=1e-5)
