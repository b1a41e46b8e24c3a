"""AdamW with factors by path: what several of torch's AdamW do, each on its own parameters."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.tree_util import DictKey

from maskmim.optim.by_path import adamw_by_path, factor
from tests.tolerances import PARITY

RATES = (("embed/", 0.2), ("^clusters/", 0.5))
DECAYS = (("^clusters/", 0.1), ("norm[12]/", 0.1), ("bias$", 0.0))
# {ours: (learning rate, weight decay) there}
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
    theirs = {name: torch.nn.Parameter(torch.from_numpy(a.copy())) for name, a in start.items()}
    groups = [
        {"params": [theirs[name]], "lr": lr, "weight_decay": decay}
        for name, (lr, decay) in TORCH.items()
    ]
    peer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    given = {"lr": 1e-2, "lr_per": 0, "weight_decay": 0.1, "rates": RATES, "decays": DECAYS}
    own = adamw_by_path(lambda step: 1.0, 16, **given)
    params = {name: jnp.asarray(a) for name, a in start.items()}
    state = own.init(params)
    for _ in range(4):
        gradient = {name: rng.normal(size=5).astype(np.float32) for name in TORCH}
        for name, parameter in theirs.items():
            parameter.grad = torch.from_numpy(gradient[name])
        peer.step()
        updates, state = own.update(gradient, state, params)
        params = {name: params[name] + updates[name] for name in TORCH}
    for name, parameter in theirs.items():
        moved = parameter.detach().numpy() - start[name]
        off = np.abs(np.asarray(params[name]) - parameter.detach().numpy()).max()
        assert off < PARITY * np.abs(moved).max(), name


def test_the_first_pattern_counts():
    path = (DictKey("clusters"), DictKey("bias"))
    assert factor(DECAYS, path) == 0.1
    assert factor((), path) == 1.0
