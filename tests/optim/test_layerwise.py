"""Layer-wise learning-rate decay: MAE's factors computed by hand, torch's AdamW with groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.models.calls import with_calls
from maskmim.models.classifiers import normed_linear
from maskmim.models.encoder_only import vit_encoder
from maskmim.optim.frozen import frozen_until
from maskmim.optim.layerwise import LayerwiseError, adamw_layerwise, layer_factors
from maskmim.schedules.warmup import Span, Timed
from maskmim.tree_paths import named_leaves
from tests.tiny import SPEC
from tests.tolerances import PARITY

DEPTH, DECAY = 3, 0.65


def build_params(**changes):
    """The parameters of a small classifier, drawn so that none is 0."""
    net = vit_encoder(SPEC, variant=f"{DEPTH}x16x2", patch=(8, 8), **changes)
    net = with_calls(net, {"classify": lambda width: normed_linear(width, classes=4)})
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), shapes)


def official_layer(name: str, depth: int) -> int:
    """Layer of a parameter by the rule of MAE's util/lr_decay.py, for torch's names of a ViT."""
    if name in ("cls_token", "pos_embed") or name.startswith("patch_embed"):
        return 0
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1
    return depth + 1


def torch_name(path: str, block: int) -> str:
    """The name that a parameter has in MAE's models_vit.py, as far as the rule reads it."""
    if "/blocks/" in path:
        return f"blocks.{block}.{path.rpartition('blocks/')[2]}"
    known = {
        "encoder/embed": "patch_embed.proj",
        "encoder/class_token": "cls_token",
        "encoder/positions": "pos_embed",
        "encoder/norm": "norm",
        "classify": "head",
    }
    return next(name for start, name in known.items() if path.startswith(start))


@pytest.mark.parametrize("changes", [{"last_norm": False}, {"positions": "learned"}])
def test_factors_are_those_of_the_official_rule(changes):
    params = build_params(**changes)
    factors = layer_factors(params, DECAY)
    for path, leaf in named_leaves(params):
        for block in range(DEPTH if "/blocks/" in path else 1):
            layer = official_layer(torch_name(path, block), DEPTH)
            expected = DECAY ** (DEPTH + 1 - layer)
            found = np.broadcast_to(factors[path], leaf.shape)
            found = found[block] if "/blocks/" in path else found
            np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=path)


def test_equals_torch_with_a_group_for_each_layer():
    """Groups as of MAE: the rate of the layer, no decay for what has one dimension and tokens."""
    params = build_params()
    rng = np.random.default_rng(1)
    adamw = adamw_layerwise(lambda step: 1.0, 16, lr=1e-2, lr_per=0, decay=DECAY, weight_decay=0.1)
    state = adamw.init(params)
    update = jax.jit(adamw.update)
    rows, groups = {}, []
    for path, leaf in named_leaves(params):
        stacked = "/blocks/" in path
        for block in range(DEPTH if stacked else 1):
            array = np.asarray(leaf)[block] if stacked else np.asarray(leaf)
            parameter = torch.nn.Parameter(torch.tensor(array))
            plain = array.ndim == 1 or path == "encoder/class_token" or path.endswith("bias")
            rate = 1e-2 * DECAY ** (DEPTH + 1 - official_layer(torch_name(path, block), DEPTH))
            decay = 0.0 if plain else 0.1
            groups.append({"params": [parameter], "lr": rate, "weight_decay": decay})
            rows[path, block] = parameter
    oracle = torch.optim.AdamW(groups, betas=(0.9, 0.999))
    first = params
    for _ in range(3):
        gradients = jax.tree.map(lambda x: np.float32(rng.normal(size=x.shape)), params)
        for (path, block), parameter in rows.items():
            gradient = dict(named_leaves(gradients))[path]
            gradient = gradient[block] if "/blocks/" in path else gradient
            parameter.grad = torch.tensor(gradient)
        oracle.step()
        updates, state = update(gradients, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    found, begun = dict(named_leaves(params)), dict(named_leaves(first))
    for (path, block), parameter in rows.items():
        stacked = "/blocks/" in path
        new, old = (np.asarray(t[path])[block] if stacked else t[path] for t in (found, begun))
        expected = parameter.detach().numpy()
        error = np.abs(new - expected).max()
        assert error < PARITY * np.abs(expected - old).max(), (path, block)


@pytest.mark.parametrize("paths", [("embed/",), ("attention/", "class_token")])
def test_frozen_until_leaves_the_factors_as_they_are(paths):
    """With nothing held yet there are two optimisers, and the updates are those of one."""
    params, schedule = build_params(), Timed(Span(4, 1.0), lambda step: 1.0)
    options = {"lr": 1e-2, "lr_per": 0}
    one = adamw_layerwise(schedule, 16, **options)
    two = frozen_until(schedule, 16, optimiser=adamw_layerwise, paths=paths, until=0.0, **options)
    (expected, _), (found, _) = (
        jax.jit(each.update)(params, each.init(params), params) for each in (one, two)
    )
    for (path, a), b in zip(named_leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=path)


def test_a_network_without_one_stack_is_refused():
    params = {"encoder": {"stage1": {"blocks": {"kernel": jnp.ones((2, 3))}}}}
    params["encoder"]["stage2"] = {"blocks": {"kernel": jnp.ones((4, 3))}}
    with pytest.raises(LayerwiseError, match="has 2"):
        layer_factors(params, DECAY)
    with pytest.raises(LayerwiseError, match="has 0"):
        layer_factors({"encoder": {"kernel": jnp.ones(3)}}, DECAY)
