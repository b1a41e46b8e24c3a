"""Maps of features: of blocks, of stages beside transformers' backbones, of an output alone."""

from functools import partial

import jax
import numpy as np
import pytest
import torch
from transformers import ConvNextV2Backbone, ConvNextV2Config, SwinBackbone, SwinConfig

from maskmim.interop.layout import arrays_of, write_arrays
from maskmim.interop.stage_layouts import hf_convnext, hf_swin
from maskmim.masks.core import from_scores
from maskmim.models.dense_heads import linear
from maskmim.models.dense_net import dense_net
from maskmim.models.dpt_head import dpt
from maskmim.models.fcmae import convnext_fcmae
from maskmim.models.feature_maps import block_numbers, captured_by, maps_of, shapes_of
from maskmim.models.layers.errors import ModelError
from maskmim.models.swin import swin_in_place
from maskmim.models.upernet_head import upernet
from maskmim.types import Encoded, Spec
from tests.compiling import quick_jit
from tests.tiny import tiny_model
from tests.tolerances import PARITY

# Where a window is as large as the grid, transformers' backbone shifts it, and its Swin does not.
STAGED = Spec((64, 64), 3, (0.5,) * 3, (0.25,) * 3)
FOUR = (0.25, 0.5, 0.75, 1.0)
SWIN = partial(swin_in_place, variant="8x2-2-2x1-2-2", window=2)
CONVNEXT = partial(convnext_fcmae, variant="8x1-2-1", decoder_width=8)


def swin_backbone():
    """transformers' Swin, which yields its stages, each behind a norm: class, config, layout."""
    config = SwinConfig(
        image_size=STAGED.size[0],
        embed_dim=8,
        depths=[2, 2, 2],
        num_heads=[1, 2, 2],
        window_size=2,
        out_features=["stage1", "stage2", "stage3"],
    )
    return SwinBackbone, config, hf_swin((4, 4, 3), (2, 2, 2))


def convnext_backbone():
    """transformers' ConvNeXt V2, as `swin_backbone`."""
    config = ConvNextV2Config(
        num_stages=3,
        hidden_sizes=[8, 16, 32],
        depths=[1, 2, 1],
        out_features=["stage1", "stage2", "stage3"],
    )
    return ConvNextV2Backbone, config, hf_convnext((1, 2, 1))


def params_of(net):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)


@pytest.mark.full
@pytest.mark.parametrize("model, backbone", [(SWIN, swin_backbone), (CONVNEXT, convnext_backbone)])
def test_maps_of_stages_are_those_of_transformers(tmp_path, model, backbone):
    net, (make, config, entries) = model(STAGED), backbone()
    params = params_of(net)
    config.save_pretrained(tmp_path)
    write_arrays(tmp_path / "model.safetensors", arrays_of(entries, params))
    theirs, found = make.from_pretrained(tmp_path, output_loading_info=True)
    assert all("hidden_states_norms" in name for name in found["missing_keys"])
    pictures = np.random.default_rng(1).normal(size=(2, *STAGED.size, 3)).astype("f4")
    with torch.no_grad():
        expected = theirs(torch.tensor(pictures.transpose(0, 3, 1, 2))).feature_maps
    (grid,) = net.grids.values()

    @quick_jit
    def maps(params):
        return maps_of(
            net.encode(params, pictures, None, capture=("stages",)), grid, layers=(0.3, 0.6, 1.0)
        )

    for each, other in zip(maps(params), expected, strict=True):
        other = other.numpy().transpose(0, 2, 3, 1)
        assert each.shape == other.shape
        # A variance of few channels may be small beside the two codes' different epsilons.
        np.testing.assert_allclose(each, other, rtol=0, atol=10 * PARITY * np.abs(other).max())


@pytest.mark.parametrize("model", [SWIN, CONVNEXT])
def test_stages_are_captured_on_their_own_grids(model):
    net = model(STAGED)
    params = jax.eval_shape(net.init, jax.random.key(0))
    pictures = jax.ShapeDtypeStruct((2, *STAGED.size, 3), np.float32)

    def encode(params, pictures, **options):
        return net.encode(params, pictures, None, **options)

    assert captured_by(encode, params, pictures, layers=(1.0,)) == ("stages",)
    assert captured_by(encode, params, pictures, layers=()) == ()
    captured = jax.eval_shape(partial(encode, capture=("stages",)), params, pictures)
    assert shapes_of(captured.stages) == ((16, 16, 8), (8, 8, 16), (4, 4, 32))
    assert jax.eval_shape(encode, params, pictures).stages is None
    with pytest.raises(ModelError, match="cannot capture layers: use stages or none"):
        jax.eval_shape(partial(encode, capture=("layers",)), params, pictures)


def test_stages_are_captured_beside_a_mask():
    net = CONVNEXT(STAGED)
    mask = from_scores(np.random.default_rng(0).random((2, 16), np.float32), ratio=0.5)
    params = jax.eval_shape(net.init, jax.random.key(0))
    pictures = jax.ShapeDtypeStruct((2, *STAGED.size, 3), np.float32)
    encoded = jax.eval_shape(
        lambda *given: net.encode(*given, mask, capture=("stages",)), params, pictures
    )
    assert encoded.tokens.shape == (2, 8, 32)
    assert shapes_of(encoded.stages) == ((16, 16, 8), (8, 8, 16), (4, 4, 32))


@pytest.mark.parametrize(
    "head, side",
    [
        (partial(dpt, width=4), 32),
        (partial(upernet, width=4), 16),
        (linear, 16),
    ],
)
def test_heads_read_stages_at_their_own_resolution(head, side):
    model = partial(swin_in_place, variant="8x2-2-2-2x1-2-2-2", window=1)
    net = dense_net(STAGED, encoder=model, outputs=3, layers=FOUR, head=head)
    params = jax.eval_shape(net.init, jax.random.key(0))
    assert not {"pyramid", "reassemble0"} & set(params["dense"])
    maps = [
        jax.ShapeDtypeStruct((2, 16 >> level, 16 >> level, 8 << level), np.float32)
        for level in range(4)
    ]
    made = head(shapes_of(maps), 3)
    assert jax.tree.structure(jax.eval_shape(made.init, jax.random.key(0))) == jax.tree.structure(
        params["dense"]
    )
    assert jax.eval_shape(made.call, params["dense"], maps).shape == (2, side, side, 3)


def test_a_linear_head_joins_stages_on_the_finest_grid():
    rng = np.random.default_rng(0)
    maps = tuple(rng.normal(size=(1, 4 >> n, 4 >> n, 2 + n)).astype("f4") for n in range(3))
    head = linear(shapes_of(maps), 3)
    params = head.init(jax.random.key(0))
    fine = [
        torch.nn.functional.interpolate(
            torch.tensor(each.transpose(0, 3, 1, 2)), size=(4, 4), mode="bilinear"
        )
        .numpy()
        .transpose(0, 2, 3, 1)
        for each in maps
    ]
    dense = params["Dense_0"]
    expected = np.concatenate(fine, axis=-1) @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(head.call(params, maps), expected, atol=1e-6)


@pytest.mark.parametrize(
    "layers, depth, expected",
    [
        (FOUR, 12, (2, 5, 8, 11)),
        (FOUR, 24, (5, 11, 17, 23)),
        (FOUR, 6, (1, 2, 4, 5)),
        (FOUR, 4, (0, 1, 2, 3)),
        (FOUR, 2, (0, 0, 1, 1)),
        ((0.01, 1 / 3), 3, (0, 0)),
    ],
)
def test_shares_of_the_depth_are_blocks(layers, depth, expected):
    assert block_numbers(layers, depth) == expected


def test_maps_are_tokens_of_blocks_without_the_prefix():
    rng = np.random.default_rng(0)
    blocks = rng.normal(size=(4, 2, 1 + 6, 5)).astype("f4")
    tokens = rng.normal(size=(2, 6, 5)).astype("f4")
    encoded = Encoded(blocks[-1, :, :1], tokens, blocks)
    (output,) = maps_of(encoded, (2, 3), layers=())
    np.testing.assert_array_equal(output, tokens.reshape(2, 2, 3, 5))
    found = maps_of(encoded, (2, 3), layers=(0.5, 1.0))
    for each, block in zip(found, (1, 3), strict=True):
        np.testing.assert_array_equal(each, blocks[block][:, 1:].reshape(2, 2, 3, 5))
    alone = maps_of(encoded._replace(layers=None), (2, 3), layers=(0.5, 1.0))
    assert len(alone) == 2 and (np.asarray(alone[0]) == np.asarray(output)).all()
    with pytest.raises(ModelError, match="returns 6 tokens for a grid of 2x4"):
        maps_of(encoded, (2, 4), layers=())


def test_an_encoder_that_captures_nothing_gives_its_output_for_every_level():
    def blind(params, pictures, *, capture=()):
        raise ModelError("this encoder cannot capture anything")

    assert captured_by(blind, None, None, layers=FOUR) == ()


def test_blocks_of_equal_tokens_are_captured():
    spec = Spec((16, 16), 3, (0.5,) * 3, (0.25,) * 3)
    net = tiny_model()(spec)
    params = jax.eval_shape(net.init, jax.random.key(0))
    pictures = jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32)

    def encode(params, pictures, **options):
        return net.encode(params, pictures, None, **options)

    assert captured_by(encode, params, pictures, layers=(1.0,)) == ("layers",)
