"""Weight files of other precisions, and position tables of other sizes and without a class row."""

import logging

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from maskmim.interop import huggingface, mae_official, tables, vision, vision_layouts
from maskmim.interop.layout import WeightsError, read_arrays
from maskmim.models.layers.posembed import sincos
from maskmim.tree_paths import named_leaves
from tests.interop.test_layouts import CASE, LAYOUTS, assert_same_bits, our_net, random_params


@pytest.fixture(scope="module")
def net():
    return our_net(CASE)


@pytest.fixture(scope="module")
def params(net):
    return random_params(net)


def torch_arrays(exported, dtype):
    return {name: torch.from_numpy(array.copy()).to(dtype) for name, array in exported.items()}


@LAYOUTS
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "float32"])
@pytest.mark.parametrize("stored", ["as it is", "as float32"])
def test_files_of_every_float_load(layout, dtype, stored, net, params, tmp_path):
    """Position tables included, which are compared with the model's; torch is the oracle."""
    arrays = torch_arrays(layout.export(net, params), getattr(torch, dtype))
    if stored == "as float32":
        arrays = {name: array.to(torch.float32) for name, array in arrays.items()}
    save_file(arrays, tmp_path / "weights.safetensors")
    loaded = layout.load(net, tmp_path / "weights.safetensors")
    rounded = {name: array.to(torch.float32).numpy() for name, array in arrays.items()}
    expected = layout.load(net, rounded)
    assert all(leaf.dtype == np.float32 for _, leaf in named_leaves(loaded))
    assert_same_bits(loaded, expected)
    head = dict(named_leaves(loaded))["decoder/head_pixels/bias"]
    name = next(name for name in arrays if name.endswith("pred.bias"))
    np.testing.assert_array_equal(head, rounded[name])


@pytest.mark.parametrize(("dtype", "off"), [("float16", 0.005), ("bfloat16", 0.04)])
def test_another_table_is_refused_in_short_numbers_too(dtype, off, net, params):
    exported = mae_official.export(net, params)
    short = torch.from_numpy(exported["pos_embed"] + np.float32(off)).to(getattr(torch, dtype))
    with pytest.raises(WeightsError, match="positions='learned'"):
        mae_official.load(net, exported | {"pos_embed": short.to(torch.float32).numpy()})


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_numbers_of_eight_bits_are_named(name, net, tmp_path):
    save_file({"a.weight": torch.ones(4).to(getattr(torch, name))}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"a\.weight has numbers of the type F8.*bfloat16"):
        huggingface.load(net, tmp_path / "w.safetensors")


def test_quantised_weights_are_refused_not_read_as_numbers(net, params, tmp_path):
    exported = mae_official.export(net, params)
    whole = exported["norm.weight"].astype(np.int8)
    with pytest.raises(WeightsError, match=r"norm\.weight is int8, not floats"):
        mae_official.load(net, exported | {"norm.weight": whole})
    assert read_arrays({"ids": np.arange(3)})["ids"].dtype.kind == "i"


@LAYOUTS
@pytest.mark.parametrize("grid", [(7, 7), (8, 2), (3, 5)])
@pytest.mark.parametrize("class_row", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_sincos_tables_of_another_size_are_computed(
    layout, grid, class_row, dtype, net, params, caplog
):
    exported = layout.export(net, params)
    name = layout.LAYOUT.positions[0]
    rows = sincos(exported[name].shape[-1], grid)
    rows = np.concatenate([np.zeros((1, rows.shape[1]), np.float32), rows]) if class_row else rows
    table = rows[None].astype(dtype)
    with caplog.at_level(logging.WARNING, "maskmim"):
        loaded = layout.load(net, exported | {name: table})
    assert_same_bits(loaded, params)
    assert f"{grid[0]} x {grid[1]} patches" in caplog.text and "are computed" in caplog.text


def test_the_right_table_says_nothing(net, params, caplog):
    with caplog.at_level(logging.WARNING, "maskmim"):
        mae_official.load(net, mae_official.export(net, params))
    assert not caplog.text


@LAYOUTS
def test_learned_tables_without_a_class_row_and_of_another_size(layout):
    net = our_net(CASE, positions="learned")
    params = random_params(net)
    exported = layout.export(net, params)
    name = layout.LAYOUT.positions[0]
    without = exported | {name: exported[name][:, 1:]}
    assert_same_bits(layout.load(net, without), params)
    longer = np.random.default_rng(0).normal(size=(1, 50, exported[name].shape[-1]))
    with pytest.raises(WeightsError, match=r"50 rows.*resize_net"):
        layout.load(net, exported | {name: longer.astype(np.float32)})
    fixed = our_net(CASE)
    with pytest.raises(WeightsError, match=r"50 rows that are no sin-cos.*resize_net"):
        layout.load(fixed, layout.export(fixed, random_params(fixed)) | {name: longer})


def test_teachers_read_tables_without_a_class_row():
    layout = vision_layouts.TIMM
    whole = {"pos_embed": np.ones((1, 17, 8), np.float32)}
    assert vision._with_class_row(layout, whole)["pos_embed"].shape == (1, 17, 8)
    without = {"pos_embed": np.ones((1, 16, 8), np.float32)}
    table = vision._with_class_row(layout, without)["pos_embed"]
    np.testing.assert_array_equal(table[0, :, 0], [0.0, *[1.0] * 16])


def test_a_table_of_nan_is_no_table():
    assert tables.find_grid(np.full((5, 8), np.nan, np.float32), (2, 2)) is None
