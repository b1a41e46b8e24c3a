"""MSN's optimiser against torch's AdamW, driven as the official loop drives it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.optim import adamw_rising_decay
from maskmim.schedules.truncated_cosine import learning_rate
from maskmim.schedules.warmup import Span, Timed

STEPS, PEAK = 10, 0.02
SPAN = Span(STEPS, 5.0)
SHAPES = {
    "encoder/embed/kernel": (3, 4),
    "encoder/positions": (5, 4),
    "projector/norm_0/scale": (4,),
    "projector/dense_0/bias": (4,),
    "prototypes/kernel": (4, 6),
}
DECAYED = "encoder/embed/kernel", "encoder/positions"


def official(step, first, last):
    """A value of the cosine that would end after 1.25 trainings."""
    return last + (first - last) * 0.5 * (1 + np.cos(np.pi * step / (1.25 * STEPS)))


@pytest.mark.proves(102, "decay rises, all but prototypes are clipped together and decayed")
def test_every_step_equals_torchs():
    rng = np.random.default_rng(0)
    params = {
        name: torch.nn.Parameter(torch.from_numpy(rng.normal(size=shape)))
        for name, shape in SHAPES.items()
    }
    groups = [
        {"params": [params[name] for name in DECAYED]},
        {"params": [p for name, p in params.items() if name not in DECAYED], "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW(groups)
    clipped = [p for name, p in params.items() if not name.startswith("prototypes")]
    schedule = learning_rate(SPAN, warmup_epochs=0.4, cut=8 / 10.5, start=0.2, final=1e-3)
    ours = adamw_rising_decay(Timed(SPAN, schedule), 64, lr=PEAK, clip_norm=1.5)
    own = {name: jnp.asarray(p.detach().numpy(), jnp.float32) for name, p in params.items()}
    state, update = ours.init(own), jax.jit(ours.update)
    for step in range(STEPS):
        for group in theirs.param_groups:
            group["lr"] = PEAK * float(schedule(step))
        theirs.param_groups[0]["weight_decay"] = official(step, 0.04, 0.4)
        scale = 0.1 if step % 2 else 1.0  # Some gradients are below the limit.
        given = {name: scale * rng.normal(size=shape) for name, shape in SHAPES.items()}
        for name, parameter in params.items():
            parameter.grad = torch.from_numpy(given[name])
        torch.nn.utils.clip_grad_norm_(clipped, 1.5)
        theirs.step()
        gradients = {name: jnp.asarray(array, jnp.float32) for name, array in given.items()}
        updates, state = update(gradients, state, own)
        own = jax.tree.map(jnp.add, own, updates)
        for name, parameter in params.items():
            expected = parameter.detach().numpy()
            np.testing.assert_allclose(own[name], expected, rtol=2e-5, atol=1e-5, err_msg=name)


@pytest.mark.proves(102, "the rate rises from 2e-4, then follows a cosine of 1.25 trainings")
def test_the_rate_equals_the_official_formula():
    span, warm = Span(1000, 10.0), 100
    rate = learning_rate(span, warmup_epochs=10.0, cut=900 / 1150, start=0.2, final=1e-3)
    for step in (0, 50, 100, 500, 999):
        if step < warm:
            expected = 2e-4 + step / warm * (1e-3 - 2e-4)
        else:
            done = (step - warm) / (1.25 * 1000 - warm)
            expected = 1e-6 + (1e-3 - 1e-6) * 0.5 * (1 + np.cos(np.pi * done))
        assert 1e-3 * float(rate(step)) == pytest.approx(expected, rel=1e-5), step
