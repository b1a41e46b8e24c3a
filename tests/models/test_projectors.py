"""Projectors against torch, with batch norm by the statistics of the batch."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import torch

from maskmim.models.layers.errors import ModelError
from maskmim.models.projectors import mlp
from maskmim.tree_paths import named_leaves

WIDTH, HIDDEN, VALUES = 6, 10, 4
NORMS = {
    "batch": torch.nn.BatchNorm1d,
    "layer": lambda width: torch.nn.LayerNorm(width, eps=1e-6),
}
ACTIVATIONS = {"relu": torch.nn.ReLU, "gelu": torch.nn.GELU}


def theirs(params, norm, activation, layers, last_norm):
    """The same MLP in torch, with our parameters."""
    parts = []
    for number in range(layers):
        given = params[f"dense_{number}"]
        linear = torch.nn.Linear(*given["kernel"].shape, bias="bias" in given)
        _fill(linear, given)
        last = number == layers - 1
        parts.append(linear)
        if norm != "none" and (not last or last_norm):
            parts.append(NORMS[norm](given["kernel"].shape[1]))
            _fill(parts[-1], params[f"norm_{number}"])
        if not last:
            parts.append(ACTIVATIONS[activation]())
    return torch.nn.Sequential(*parts).train()


def _fill(layer, given):
    """Copy our parameters into a layer of torch."""
    with torch.no_grad():
        weight = given["kernel"].T if "kernel" in given else given["scale"]
        layer.weight.copy_(torch.from_numpy(np.array(weight)))
        if "bias" in given:
            layer.bias.copy_(torch.from_numpy(np.array(given["bias"])))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(
    ("norm", "activation", "biases", "last_norm"),
    [("batch", "relu", False, False), ("layer", "gelu", True, True), ("none", "relu", True, False)],
)
def test_an_mlp_equals_torch(layers, norm, activation, biases, last_norm):
    options = {"norm": norm, "activation": activation, "biases": biases, "last_norm": last_norm}
    made = mlp(WIDTH, layers=layers, hidden=HIDDEN, values=VALUES, **options)
    params = made.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: x + rng.normal(0, 0.3, x.shape).astype(np.float32), params)
    x = rng.standard_normal((7, WIDTH)).astype(np.float32)
    expected = theirs(params, norm, activation, layers, last_norm)(torch.from_numpy(x))
    np.testing.assert_allclose(made.call(params, x), expected.detach(), rtol=1e-3, atol=1e-5)
    ends = {path.rpartition("/")[2] for path, _ in named_leaves(params) if path.startswith("dense")}
    assert ends == ({"kernel", "bias"} if biases else {"kernel"})


def test_widths_are_those_of_the_encoder_unless_given():
    shapes = {
        path: leaf.shape
        for path, leaf in named_leaves(mlp(WIDTH, hidden=8).init(jax.random.key(0)))
    }
    assert shapes["dense_0/kernel"] == (WIDTH, 8) and shapes["dense_1/kernel"] == (8, WIDTH)
    other = mlp(WIDTH, hidden=8, inputs=3, values=5)
    assert other.says == "MLP 3 > 8 > 5, batch norm, relu"
    with pytest.raises(ModelError, match="an MLP on 3 values gets 6: set its `inputs`"):
        other.call(other.init(jax.random.key(0)), np.ones((2, WIDTH), np.float32))


def test_norms_and_results_are_float32_in_bfloat16():
    made = mlp(WIDTH, hidden=8, dtype="bfloat16")
    x = np.random.default_rng(0).standard_normal((16, WIDTH)).astype(np.float32)
    params = made.init(jax.random.key(0))
    coarse, fine = made.call(params, x), mlp(WIDTH, hidden=8).call(params, x)
    assert coarse.dtype == fine.dtype == np.float32
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))
    assert 0 < np.abs(coarse - fine).max() < 0.1
