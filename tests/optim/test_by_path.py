"""AdamW with factors by path against torch's AdamW with one group for each parameter."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.tree_util import DictKey

from maskmim.optim.by_path import adamw_by_path
from maskmim.optim.path_rules import path_factor
from tests.tolerances import PARITY

RATES = (("embed/", 0.2), ("^clusters/", 0.5))
DECAYS = (("^clusters/", 0.1), ("norm[12]/", 0.1), ("bias$", 0.0))
# {path: (learning rate, weight decay) of its group in torch}
TORCH = {
    "encoder/embed/kernel": (2e-3, 0.1),
    "encoder/embed/bias": (2e-3, 0.0),
    "encoder/blocks/norm1/norm/scale": (1e-2, 0.01),
    "encoder/blocks/mlp/up/kernel": (1e-2, 0.1),
    "clusters/bias": (5e-3, 0.01),
}


@pytest.mark.proves(64, "one optimiser with factors equals torch's AdamW groups of the recipe")
def test_equals_torch_with_a_group_for_each():
    rng = np.random.default_rng(0)
    start = {name: rng.normal(size=5).astype(np.float32) for name in TORCH}
    torch_params = {n: torch.nn.Parameter(torch.from_numpy(a.copy())) for n, a in start.items()}
    groups = [
        {"params": [torch_params[name]], "lr": lr, "weight_decay": decay}
        for name, (lr, decay) in TORCH.items()
    ]
    torch_adamw = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    rules = {"weight_decay": 0.1, "rates": RATES, "decays": DECAYS}
    adamw = adamw_by_path(lambda step: 1.0, 16, lr=1e-2, lr_per=0, **rules)
    params = {name: jnp.asarray(a) for name, a in start.items()}
    state = adamw.init(params)
    for _ in range(4):
        gradient = {name: rng.normal(size=5).astype(np.float32) for name in TORCH}
        for name, parameter in torch_params.items():
            parameter.grad = torch.from_numpy(gradient[name])
        torch_adamw.step()
        updates, state = adamw.update(gradient, state, params)
        params = {name: params[name] + updates[name] for name in TORCH}
    for name, parameter in torch_params.items():
        expected = parameter.detach().numpy()
        error = np.abs(np.asarray(params[name]) - expected).max()
        assert error < PARITY * np.abs(expected - start[name]).max(), name


def test_the_first_matching_pattern_wins():
    path = (DictKey("clusters"), DictKey("bias"))
    assert path_factor(DECAYS, path) == 0.1
    assert path_factor((), path) == 1.0
