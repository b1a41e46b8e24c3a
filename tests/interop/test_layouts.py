"""Weights of other layouts: round trips bit for bit, names, and errors that say what differs."""

import re

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import ViTMAEForPreTraining

from maskmim.interop import huggingface, mae_official
from maskmim.interop.layout import WeightsError
from maskmim.tree_paths import named_leaves
from tests.interop.transformers_mae import Case, our_net, peer, state_of

CASE = Case("small", image=(16, 64), channels=2)
LAYOUTS = pytest.mark.parametrize("layout", [huggingface, mae_official], ids=["hf", "official"])


@pytest.fixture(scope="module")
def net():
    return our_net(CASE)


@pytest.fixture(scope="module")
def params(net):
    return random_params(net)


def random_params(net):
    """Random numbers in every parameter, so that none can stand for another."""
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


def assert_same_bits(ours, theirs):
    ours, theirs = dict(named_leaves(ours)), dict(named_leaves(theirs))
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        np.testing.assert_array_equal(leaf, theirs[path], err_msg=path)


@LAYOUTS
def test_round_trip_through_a_file_keeps_every_bit(layout, net, params, tmp_path):
    layout.save(net, params, tmp_path / "weights.safetensors")
    assert_same_bits(layout.load(net, tmp_path / "weights.safetensors"), params)
    encoder = layout.load_encoder(net, tmp_path / "weights.safetensors")
    assert_same_bits(encoder, params["encoder"])


@LAYOUTS
def test_every_number_of_a_file_returns_to_its_place(layout, net, params, tmp_path):
    exported = layout.export(net, params)
    again = layout.export(net, layout.load(net, exported))
    assert exported.keys() == again.keys()
    for name, array in exported.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_transformers_reads_our_file_and_we_read_theirs(net, params, tmp_path):
    model = peer(CASE)
    model.config.save_pretrained(tmp_path)
    huggingface.save(net, params, tmp_path / "model.safetensors")
    theirs, info = ViTMAEForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert_same_bits(huggingface.load(net, state_of(theirs)), params)
    theirs.save_pretrained(tmp_path / "again")
    assert_same_bits(huggingface.load(net, tmp_path / "again" / "model.safetensors"), params)


def test_an_encoder_saved_without_its_wrapper_loads(net, params, tmp_path):
    whole = peer(CASE)
    expected = huggingface.load(net, state_of(whole))["encoder"]
    whole.vit.save_pretrained(tmp_path)
    loaded = huggingface.load_encoder(net, tmp_path / "model.safetensors")
    assert_same_bits(loaded, expected)
    assert_same_bits(huggingface.load_encoder(net, state_of(whole.vit)), expected)


def test_official_names_and_shapes(net, params):
    """The names of models_mae.py, and the meaning of its fused qkv and of its convolution."""
    exported = mae_official.export(net, params)
    blocks = params["encoder"]["stack"]["blocks"]
    width = 32
    assert exported["blocks.1.attn.qkv.weight"].shape == (3 * width, width)
    x = np.random.default_rng(1).normal(size=(5, width)).astype(np.float32)
    # timm: qkv(x).reshape(n, 3, heads, size)
    theirs = x @ exported["blocks.1.attn.qkv.weight"].T + exported["blocks.1.attn.qkv.bias"]
    qkv = blocks["attention"]["qkv"]
    ours = np.einsum("nd,dchs->nchs", x, qkv["kernel"][1]) + qkv["bias"][1]
    np.testing.assert_allclose(theirs.reshape(5, 3, 2, 16), ours, rtol=1e-4, atol=1e-4)

    image = np.random.default_rng(2).normal(size=(1, *CASE.image, 2)).astype(np.float32)
    convolved = torch.nn.functional.conv2d(
        torch.from_numpy(image.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(exported["patch_embed.proj.weight"].copy()),
        stride=CASE.patch,
    )
    ours = np.asarray(net.patchify(image)) @ params["encoder"]["embed"]["kernel"]
    theirs = convolved.flatten(2).transpose(1, 2).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    for name in ("cls_token", "pos_embed", "patch_embed.proj.bias", "blocks.0.norm1.weight"):
        assert name in exported
    for name in ("decoder_blocks.0.mlp.fc2.bias", "decoder_pos_embed", "decoder_pred.weight"):
        assert name in exported


@LAYOUTS
def test_errors_list_the_differences(layout, net, params):
    exported = layout.export(net, params)
    norm = next(name for name in exported if name.endswith("norm.weight"))
    block = next(name for name in exported if name.endswith("fc1.bias") or "intermediate" in name)
    wrong = {name: array for name, array in exported.items() if name != norm}
    wrong |= {block: np.zeros((7,), np.float32), "head.weight": np.zeros((3, 3), np.float32)}
    with pytest.raises(WeightsError) as error:
        layout.load(net, wrong)
    text = str(error.value)
    block = re.sub(r"\.\d+\.", ".*.", block)
    assert f"missing: {norm} ({exported[norm].size},)" in text
    assert "unexpected: head.weight (3, 3)" in text
    assert f"of another shape: {block} (7,), the network has" in text


@LAYOUTS
def test_an_encoder_file_lacks_the_decoder(layout, net, params):
    exported = layout.export(net, params)
    encoder = {n: a for n, a in exported.items() if not layout.LAYOUT.of_decoder(n)}
    assert_same_bits(layout.load_encoder(net, encoder), params["encoder"])
    with pytest.raises(WeightsError, match=r"missing: .*mask_token"):
        layout.load(net, encoder)


@LAYOUTS
def test_other_positions_than_the_models_are_refused(layout, net, params):
    exported = layout.export(net, params)
    name = layout.LAYOUT.positions[0]
    with pytest.raises(WeightsError, match="positions='learned'"):
        layout.load(net, exported | {name: np.zeros_like(exported[name])})
    with pytest.raises(WeightsError, match="image and patch size"):
        layout.load(net, exported | {name: exported[name][:, :-1]})
    without = {key: array for key, array in exported.items() if key != name}
    assert_same_bits(layout.load(net, without), params)


@LAYOUTS
def test_learned_positions_fold_the_class_row_into_the_class_token(layout):
    net = our_net(CASE, positions="learned")
    params = random_params(net)
    exported = layout.export(net, params)
    assert_same_bits(layout.load(net, exported), params)
    name = layout.LAYOUT.positions[0]
    table = exported[name].copy()
    table[:, 0] += 0.5
    loaded = layout.load(net, exported | {name: table})
    np.testing.assert_allclose(
        loaded["encoder"]["class_token"], params["encoder"]["class_token"] + 0.5, rtol=1e-6
    )
    np.testing.assert_array_equal(loaded["encoder"]["positions"], params["encoder"]["positions"])


@LAYOUTS
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"registers": 2}, "no place for the model's encoder/registers"),
        ({"heads": {"hog": 9}}, "no place for the model's decoder/head_hog/bias"),
        ({"class_token": False}, "the model lacks: encoder/class_token"),
    ],
)
def test_parts_without_a_place_are_refused(layout, changes, words):
    net = our_net(CASE, **changes)
    with pytest.raises(WeightsError, match=words):
        layout.export(net, random_params(net))


def test_a_pickle_is_not_read(net, tmp_path):
    torch.save({"model": {}}, tmp_path / "mae.pth")
    with pytest.raises(WeightsError, match="convert it once"):
        huggingface.load(net, tmp_path / "mae.pth")
    with pytest.raises(WeightsError, match="cannot be read"):
        huggingface.load(net, tmp_path / "none.safetensors")


def test_half_precision_files_become_float32(net, params, tmp_path):
    exported = huggingface.export(net, params)
    halves = {name: array.astype(np.float16) for name, array in exported.items()}
    table = halves.pop("vit.embeddings.position_embeddings")
    halves.pop("decoder.decoder_pos_embed")
    assert table.dtype == np.float16
    save_file(halves, tmp_path / "half.safetensors")
    assert load_file(tmp_path / "half.safetensors")["vit.layernorm.bias"].dtype == np.float16
    loaded = huggingface.load(net, tmp_path / "half.safetensors")
    assert all(leaf.dtype == np.float32 for _, leaf in named_leaves(loaded))


@LAYOUTS
def test_weights_of_other_channels_are_refused_in_a_sentence(layout, net, params):
    exported = layout.export(net, params)
    name = next(name for name, array in exported.items() if array.ndim == 4)
    wrong = {**exported, name: exported[name].repeat(2, axis=1)}
    with pytest.raises(WeightsError) as error:
        layout.load(net, wrong)
    count = exported[name].shape[1]
    text = f"the weights are for {2 * count} channels, input.channels is {count}"
    assert text in str(error.value) and "never repeated" in str(error.value)
