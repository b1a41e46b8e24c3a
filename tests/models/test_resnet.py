"""ResNet equals transformers' with equal weights: in training, in evaluation, its averages."""

from __future__ import annotations

from functools import cache

import jax
import numpy as np
import pytest
import torch
from jax.sharding import AbstractMesh, PartitionSpec
from transformers import ResNetConfig, ResNetModel

from maskmim.models.a2mim import a2mim_resnet
from maskmim.models.layers.batch_norm import NORMS
from maskmim.models.layers.errors import ModelError
from maskmim.models.resnet import resnet_variant, rules
from maskmim.training.sharding import AXES, tree_shardings
from maskmim.types import Spec
from tests.compiling import quick_jit
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

SPEC = Spec((32, 48), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
DEPTHS = (2, 1, 2)


def network():
    return a2mim_resnet(SPEC, variant="8x2-1-2", masked_stage=2)


def pictures(seed=0):
    return np.random.default_rng(seed).standard_normal((3, *SPEC.shape)).astype(np.float32)


@cache
def peer():
    """transformers' ResNet with random weights, in training."""
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[32, 64, 128],
        depths=list(DEPTHS),
        layer_type="bottleneck",
    )
    model = ResNetModel(config).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.2 * torch.randn(parameter.shape, generator=generator)
            is_norm = name.endswith("normalization.weight")
            parameter.copy_(1.0 + noise if is_norm else noise)
    return model


def pairs():
    """Their modules of a convolution and its norm, by our names."""
    yield "embedder.embedder", "stem", "stem_norm"
    for stage, depth in enumerate(DEPTHS):
        for number in range(depth):
            there, here = f"encoder.stages.{stage}.layers.{number}", f"stage{stage}_block{number}"
            for place in range(3):
                yield f"{there}.layer.{place}", f"{here}/conv{place + 1}", f"{here}/norm{place + 1}"
            if not number:
                yield f"{there}.shortcut", f"{here}/shortcut", f"{here}/shortcut_norm"


def place(tree, path, leaves):
    """Put leaves at a path of nested dicts."""
    for part in path.split("/"):
        tree = tree.setdefault(part, {})
    tree.update(leaves)


def converted():
    """Their weights as our encoder's params, and their running averages."""
    modules, params, averages = dict(peer().named_modules()), {}, {}
    for there, convolution, norm in pairs():
        pair = modules[there]
        kernel = pair.convolution.weight.detach().numpy().transpose(2, 3, 1, 0)
        place(params, convolution, {"kernel": kernel})
        scale, bias = (each.detach().numpy() for each in pair.normalization.parameters())
        place(params, norm, {"scale": scale, "bias": bias})
        running = pair.normalization
        place(
            averages,
            norm,
            {"mean": running.running_mean.numpy(), "variance": running.running_var.numpy()},
        )
    channels = params["stage1_block0"]["shortcut"]["kernel"].shape[3]
    for name in ("mask_token", "mask_scale"):
        params[name] = np.zeros((1, 1, 1, channels), np.float32)
    return params, jax.tree.map(np.copy, averages)


def theirs():
    """Their features [B, h, w, C] of a batch."""
    batch = torch.from_numpy(pictures().transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        return peer()(batch).last_hidden_state.numpy().transpose(0, 2, 3, 1)


def close(ours, expected, name=""):
    ours, expected = np.asarray(ours), np.asarray(expected)
    assert ours.shape == expected.shape, name
    off = np.abs(ours - expected).max() / np.abs(expected).max()
    assert off <= PARITY, (name, off)


def test_equals_transformers_in_training_and_in_evaluation():
    net = network()
    params, _ = converted()
    encode = quick_jit(lambda params: net.encode(params, pictures(), None, capture=("stages",)))
    shapes = jax.eval_shape(net.init, jax.random.key(0))["encoder"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    encoded = encode({"encoder": params})
    close(encoded.stages[-1], theirs(), "training")
    assert encoded.tokens.shape == (3, 2 * 3, net.width)
    averages = net.norms.update(net.norms.init(), encoded.sums)
    expected = {"encoder": converted()[1]}
    jax.tree.map(close, averages, expected)
    peer().eval()
    close(encode({"encoder": params, NORMS: averages}).stages[-1], theirs(), "evaluation")
    peer().train()


def test_sizes():
    size = resnet_variant("50")
    assert (size.stride, size.channels, size.depths) == (32, 2048, (3, 4, 6, 3))
    assert resnet_variant("64x3-4-6-3") == size
    with pytest.raises(ModelError, match=r"ResNet.*50"):
        resnet_variant("51")


def test_convolutions_are_split_by_their_outputs():
    mesh = AbstractMesh((1, 2, 1, 1), AXES)
    placed = tree_shardings(jax.eval_shape(network().init, jax.random.key(0)), rules(), mesh)
    block = placed["encoder"]["stage0_block0"]
    assert block["conv2"]["kernel"].spec == PartitionSpec(None, None, None, "fsdp")
    assert not any(block["norm2"]["scale"].spec)
