"""Bamboo's encoders: deeper and narrower than MAE's, with as many parameters."""

import math

import jax
import pytest

from maskmim.config.load import load
from maskmim.models.vit import variant as size_of
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves


def sizes(config):
    """Return {path: values} of the encoder of a config."""
    _, method = build_method(config)
    shapes = jax.eval_shape(method.net.init, jax.random.key(0))["encoder"]
    return {path: math.prod(leaf.shape) for path, leaf in named_leaves(shapes)}


@pytest.mark.parametrize("variant", ["B/16", "L/16", "H/14"])
def test_the_encoder_is_deeper_and_narrower_with_as_many_parameters(variant):
    usual, deep = (load(f"{name}:variant={variant}") for name in ("mae", "bamboo"))
    one, other = size_of(usual.model.variant), size_of(deep.model.variant)
    assert (other.depth, other.width) == (4 * one.depth, one.width // 2)
    assert other.width // other.heads == 64
    before, after = sizes(usual), sizes(deep)
    kernels = [path for path in before if path.startswith("stack/") and path.endswith("kernel")]
    assert len(kernels) == 4
    assert all(before[path] == after[path] for path in kernels)
    # Biases and norms of more blocks, and a narrower patch embedding.
    assert sum(after.values()) == pytest.approx(sum(before.values()), rel=0.01)
    # All else is MAE's.
    deep.model.variant = usual.model.variant
    assert deep.to_json() == usual.to_json()


def test_another_shape_can_be_named():
    assert load("bamboo:variant=24x544x8/16").model.variant == "24x544x8"
