"""Dense heads against transformers and torch, with copied weights."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import DPTConfig, Swinv2Config, UperNetConfig
from transformers.models.dpt.modeling_dpt import DPTNeck
from transformers.models.upernet.modeling_upernet import UperNetHead

from maskmim.models.dense_heads import linear, resized, resized_corners
from maskmim.models.dpt_head import Dpt, dpt
from maskmim.models.layers.errors import ModelError
from maskmim.models.upernet_head import UperNet, pooled_grid, upernet
from tests.compiling import quick_jit
from tests.tolerances import PARITY

WIDTHS = (6, 6, 6, 6)


def close(ours, theirs):
    """Equal to PARITY of the largest value; theirs is [B, C, H, W]."""
    theirs = theirs.detach().numpy().transpose(0, 2, 3, 1)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=PARITY * np.abs(theirs).max())


def maps_of(rng, sizes, widths=WIDTHS):
    """Random maps f32[2, h, w, D], and the same for torch."""
    pairs = zip(sizes, widths, strict=True)
    ours = tuple(rng.normal(size=(2, *size, width)).astype("f4") for size, width in pairs)
    return ours, [torch.tensor(each.transpose(0, 3, 1, 2)) for each in ours]


def conv(layer):
    """A torch convolution's weights as Flax names and orders them."""
    kernel = layer.weight.detach().numpy()
    if isinstance(layer, torch.nn.ConvTranspose2d):
        kernel = kernel.transpose(2, 3, 0, 1)[::-1, ::-1]  # Flax does not turn the kernel
    else:
        kernel = kernel.transpose(2, 3, 1, 0)
    bias = {} if layer.bias is None else {"bias": layer.bias.detach().numpy()}
    return {"kernel": kernel.copy(), **bias}


def drawn(module):
    """A torch module with random weights, biases too."""
    torch.manual_seed(0)
    for each in module.parameters():
        torch.nn.init.normal_(each, std=0.3)
    return module.eval()


@pytest.mark.parametrize("old, new", [((3, 5), (7, 10)), ((4, 4), (4, 4)), ((6, 5), (3, 2))])
def test_resizing_is_that_of_torch(old, new):
    (ours,), (theirs,) = maps_of(np.random.default_rng(0), [old], (2,))
    for align, function in ((False, resized), (True, resized_corners)):
        expected = torch.nn.functional.interpolate(
            theirs, size=new, mode="bilinear", align_corners=align
        )
        close(np.asarray(function(jnp.asarray(ours), new)), expected)


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_pooling_is_that_of_torch(side):
    (ours,), (theirs,) = maps_of(np.random.default_rng(0), [(7, 4)], (3,))
    expected = torch.nn.functional.adaptive_avg_pool2d(theirs, side)
    close(np.asarray(pooled_grid(jnp.asarray(ours), side)), expected)


def dpt_weights(neck, hidden, outputs):
    """Weights of transformers' DPTNeck and two last layers under our names."""
    params = {"hidden": conv(hidden), "outputs": conv(outputs)}
    for level, layer in enumerate(neck.reassemble_stage.layers if neck.reassemble_stage else ()):
        params[f"reassemble{level}"] = {"project": conv(layer.projection)}
        if level != 2:
            params[f"reassemble{level}"]["resize"] = conv(layer.resize)
    for level in range(4):
        params[f"level{level}"] = conv(neck.convs[level])
        fusion = neck.fusion_stage.layers[3 - level]
        parts = {"merged": fusion.residual_layer2}
        if level < 3:
            parts["skip"] = fusion.residual_layer1
        params[f"fusion{level}"] = {"project": conv(fusion.projection)} | {
            name: {"first": conv(part.convolution1), "second": conv(part.convolution2)}
            for name, part in parts.items()
        }
    return params


def of_blocks():
    """Maps of a ViT's blocks, ours and as tokens behind a prefix; their DPTConfig."""
    ours, theirs = maps_of(np.random.default_rng(0), [(4, 6)] * 4)
    tokens = [each.flatten(2).transpose(1, 2) for each in theirs]
    tokens = [torch.cat([torch.zeros(2, 1, 6), each], dim=1) for each in tokens]
    size = {"hidden_size": 6, "num_hidden_layers": 4, "num_attention_heads": 2}
    return ours, tokens, size | {"backbone_out_indices": [0, 1, 2, 3]}


def of_stages():
    """Maps of the stages of a Swin V2, ours and theirs, the finest first; their DPTConfig."""
    grids = [(16, 24), (8, 12), (4, 6), (2, 3)]
    ours, theirs = maps_of(np.random.default_rng(0), grids, (3, 4, 5, 6))
    return ours, theirs, {"backbone_config": Swinv2Config()}


@pytest.mark.parametrize("made", [of_blocks, of_stages])
def test_dpt_equals_transformers_with_equal_weights(made):
    ours, theirs, size = made()
    config = DPTConfig(
        neck_hidden_sizes=[3, 4, 5, 6], fusion_hidden_size=4, readout_type="ignore", **size
    )
    neck = drawn(DPTNeck(config))
    hidden, outputs = drawn(torch.nn.Conv2d(4, 4, 3, padding=1)), drawn(torch.nn.Conv2d(4, 5, 1))
    expected = outputs(torch.relu(hidden(neck(theirs, 4, 6)[-1])))
    module = Dpt(outputs=5, width=4, channels=(3, 4, 5, 6))
    found = quick_jit(module.apply)({"params": dpt_weights(neck, hidden, outputs)}, ours)
    close(np.asarray(found), expected)


class Unchanged(nn.Module):
    """A norm that does nothing."""

    def __call__(self, x):
        return x


def test_upernet_equals_transformers_with_equal_weights_and_no_norms():
    config = UperNetConfig(hidden_size=4, pool_scales=[1, 2, 3, 6], num_labels=5)
    head = drawn(UperNetHead(config, in_channels=[3, 4, 5, 6]))
    for part in list(head.modules()):
        if hasattr(part, "batch_norm"):
            part.batch_norm = torch.nn.Identity()
    sizes = [(16, 12), (8, 6), (4, 3), (2, 2)]
    ours, theirs = maps_of(np.random.default_rng(0), sizes, (3, 4, 5, 6))
    units = {"pooled": head.bottleneck, "fused": head.fpn_bottleneck}
    units |= {f"lateral{n}": part for n, part in enumerate(head.lateral_convs)}
    units |= {f"refined{n}": part for n, part in enumerate(head.fpn_convs)}
    for side, block in zip((1, 2, 3, 6), head.psp_modules.blocks, strict=True):
        units[f"pool{side}"] = block.layers[1]
    params = {name: {"conv": conv(part.conv)} for name, part in units.items()}
    params["outputs"] = conv(head.classifier)
    module = UperNet(outputs=5, width=4, pools=(1, 2, 3, 6), norm=Unchanged)
    close(np.asarray(quick_jit(module.apply)({"params": params}, ours)), head(theirs))


@pytest.mark.parametrize(
    "make, times",
    [
        (linear, 1),
        (partial(dpt, width=4, channels=(3, 3, 3, 3)), 8),
        (partial(upernet, width=4), 4),
    ],
)
def test_heads_answer_at_their_resolution_whatever_the_grid(make, times):
    head = make(((4, 4, 6),) * 4, 3)
    params = jax.eval_shape(head.init, jax.random.key(0))
    for grid in ((4, 6), (7, 5)):
        maps = tuple(jax.ShapeDtypeStruct((2, *grid, 6), jnp.float32) for _ in WIDTHS)
        shape = jax.eval_shape(head.call, params, maps).shape
        assert shape == (2, times * grid[0], times * grid[1], 3)


def test_heads_of_four_levels_want_four_maps():
    for make in (dpt, upernet):
        with pytest.raises(ModelError, match="takes 4 maps of features, not 1: give `layers` 4"):
            make(((4, 4, 6),), 3)
