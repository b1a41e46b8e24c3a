"""Runs that begin from weights: of a run, and of files as transformers, timm and MAE write them."""

import json

import jax
import numpy as np
import pytest
import torch

from maskmim.checkpoints.workdir import save_config
from maskmim.checkpoints.writer import Checkpoints
from maskmim.config.load import load, override
from maskmim.config.parse import ConfigError
from maskmim.config.serialize import to_json
from maskmim.errors import UserError
from maskmim.interop.difference import WeightsError
from maskmim.interop.initial_weights import begin, check_begin, check_selection, describe
from maskmim.interop.layout import write_arrays
from maskmim.training.build import assemble, init_state
from maskmim.tree_paths import named_leaves
from tests.interop.transformers_mae import Case, peer, state_of
from tests.running import ROOT
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

SMALL = (
    "input.size=16,16",
    "model.variant=1x16x2",
    "model.patch=4,4",
)
DECODER = ("model.decoder_width=16", "model.decoder_depth=1", "model.decoder_heads=2")


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def config_of(name, *changes):
    return override(load(f"configs/{name}.py:tiny"), [*SMALL, *changes])


def begun(config):
    parts = assemble(config, 296)
    return begin(config, parts), parts


def flat(tree):
    return {name: np.asarray(leaf) for name, leaf in named_leaves(tree)}


def saved_run(folder, config, *, seed=7, step=5, data=None, change=lambda state: state):
    """Save the initial state of a seed as a run's checkpoint; return the state."""
    state = change(init_state(assemble(config, 296), seed))
    folder.mkdir(exist_ok=True)
    save_config(folder, config)
    checkpoints = Checkpoints(folder)
    checkpoints.save(step, state, {"step": step, **(data or {})}, to_json(config))
    checkpoints.close()
    return state


@pytest.fixture(scope="module")
def mae_run(tmp_path_factory):
    """Return the folder of a run of MAE, and its params by path."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    config = override(load(str(ROOT / "configs/mae.py:tiny")), [*SMALL, *DECODER])
    return folder, flat(saved_run(folder, config).params)


def test_all_params_of_a_run_are_taken(mae_run):
    folder, params = mae_run
    beginning, parts = begun(config_of("mae", *DECODER, f"begin.workdir={folder}"))
    ours = flat(beginning.state.params)
    assert ours.keys() == params.keys()
    for path, array in params.items():
        np.testing.assert_array_equal(ours[path], array, err_msg=path)
    assert int(beginning.state.step) == 0
    record = beginning.record
    assert record["run"] == str(folder) and record["step"] == 5 and record["arrays"] == len(params)
    assert "drawn fresh         nothing" in beginning.sheet
    expected = init_state(parts, 0)
    for path, array in flat(expected.opt_state).items():
        np.testing.assert_array_equal(flat(beginning.state.opt_state)[path], array)


def test_what_stays_fresh_is_drawn_as_without_a_source(mae_run):
    folder, params = mae_run
    config = config_of("mae", *DECODER, f"begin.workdir={folder}", "begin.take=encoder")
    beginning, parts = begun(config)
    ours, drawn = flat(beginning.state.params), flat(init_state(parts, config.seed).params)
    for path, array in ours.items():
        source = params if path.startswith("encoder/") else drawn
        np.testing.assert_array_equal(array, source[path], err_msg=path)
    assert "drawn fresh         decoder" in beginning.sheet
    assert "left in the source  decoder" in beginning.sheet


def test_a_teachers_average_begins_as_a_copy_of_the_weights_taken(mae_run):
    folder, params = mae_run
    beginning, _ = begun(config_of("hpm", *DECODER, f"begin.workdir={folder}"))
    trained, extra = flat(beginning.state.params), flat(beginning.state.extra)
    for path, array in extra.items():
        np.testing.assert_array_equal(array, trained[path.partition("/")[2]], err_msg=path)
    np.testing.assert_array_equal(
        extra["average/encoder/embed/kernel"], params["encoder/embed/kernel"]
    )
    assert "copies of these     extra/average" in beginning.sheet
    fresh = beginning.sheet.partition("drawn fresh")[2].splitlines()[0]
    assert "decoder/loss_stack" in fresh and "head_loss" in beginning.sheet


def test_learned_positions_of_another_grid_are_resized(tmp_path):
    config = config_of("attmask", "model.prototypes=8", "model.hidden=8", "model.bottleneck=4")
    crops = "data.augment.local_size=8,8"
    state = saved_run(tmp_path / "a", override(config, [crops]))
    wide = [crops, "input.size=16,24", f"begin.workdir={tmp_path / 'a'}"]
    beginning, _ = begun(override(config, wide))
    table = flat(state.params)["encoder/positions"]
    image = torch.from_numpy(table.reshape(4, 4, -1).copy()).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(image, (4, 6), mode="bicubic", antialias=True)
    expected = expected[0].permute(1, 2, 0).reshape(24, -1).numpy()
    ours = flat(beginning.state.params)["encoder/positions"]
    np.testing.assert_allclose(ours, expected, atol=PARITY)
    teacher = flat(beginning.state.extra)["teacher/encoder/positions"]
    np.testing.assert_array_equal(teacher, ours)
    assert "resized             encoder/positions 4x4 -> 4x6; bicubic" in beginning.sheet
    assert beginning.record["resized"] == ["encoder/positions 4x4 -> 4x6"]


def test_the_average_of_a_run_is_taken_on_request(tmp_path):
    config = config_of("hpm", *DECODER)

    def trained(state):
        return state._replace(extra=jax.tree.map(lambda x: x + 1, state.extra))

    state = saved_run(tmp_path / "a", config, change=trained)
    source = f"begin.workdir={tmp_path / 'a'}"
    mae = config_of("mae", *DECODER, source)
    averaged = begun(override(mae, ["begin.weights=average"]))[0]
    extra = flat(state.extra)
    for path, array in flat(averaged.state.params).items():
        np.testing.assert_array_equal(array, extra[f"average/{path}"], err_msg=path)
    title = f"{tmp_path / 'a'}, step 5, average 'average'"
    assert f"beginning from {title}\n" in averaged.sheet
    assert f"begun from {title} (" in describe(averaged.record)
    assert "extra/average" not in averaged.sheet
    plain = begun(mae)[0]
    assert "extra/average" in plain.sheet.partition("left in the source")[2]
    assert "--config.begin.weights=average takes them" in " ".join(plain.sheet.split())
    with pytest.raises(WeightsError, match=r"no such average .* use 'trained' or 'average'"):
        begun(override(mae, ["begin.weights=teacher"]))


def test_a_codebook_is_taken_where_it_is_named(tmp_path):
    config = override(load("configs/vq_kd.py:tiny"), [])
    state = saved_run(tmp_path / "a", config)
    source = override(config, [f"begin.workdir={tmp_path / 'a'}"])
    codes = flat(state.extra)["codebook/codes"]
    fresh = begun(source)[0]
    assert "extra/codebook" in fresh.sheet.partition("drawn fresh")[2].splitlines()[0]
    assert not np.array_equal(flat(fresh.state.extra)["codebook/codes"], codes)
    taken = begun(override(source, ["begin.take=.*"]))[0]
    np.testing.assert_array_equal(flat(taken.state.extra)["codebook/codes"], codes)
    assert "drawn fresh         nothing" in taken.sheet


def test_a_chain_is_in_the_record_and_in_a_line(tmp_path, mae_run):
    folder, _ = mae_run
    config = config_of("mae", *DECODER, f"begin.workdir={folder}")
    first = begun(config)[0]
    saved_run(tmp_path / "b", config, step=9, data={"began": first.record})
    second = begun(config_of("mae", *DECODER, f"begin.workdir={tmp_path / 'b'}"))[0]
    assert second.record["began"] == json.loads(json.dumps(first.record))
    line = describe(second.record)
    assert f"begun from {tmp_path / 'b'}, step 9, which began from {folder}, step 5" in line


# Files.

CASE = Case("small", image=(16, 16), patch=4, encoder=(1, 16, 2, 64), decoder=(1, 16, 2))


def published(model, folder):
    model.save_pretrained(folder)
    return folder


def encoded_by_transformers(model, image):
    """Encode every token of pictures [B, C, H, W] in the order of the grid."""
    model.vit.config.mask_ratio = 0.0
    length = (image.shape[2] // CASE.patch) * (image.shape[3] // CASE.patch)
    noise = torch.arange(length, dtype=torch.float32)[None].repeat(len(image), 1)
    with torch.no_grad():
        return model.vit(torch.from_numpy(image), noise=noise).last_hidden_state.numpy()


@pytest.mark.parametrize("size", [(16, 16), (24, 24), (8, 32)])
def test_the_encoder_of_vit_mae_at_another_size_is_that_of_transformers(tmp_path, size):
    model = peer(CASE)
    folder = published(model, tmp_path / "vit-mae")
    other = peer(CASE._replace(image=size))
    weights = {
        k: v for k, v in model.state_dict().items() if "position" not in k and "pos_" not in k
    }
    other.load_state_dict(weights, strict=False)
    plain = ("input.mean=0,0,0", "input.std=1,1,1", "input.dtype=float32")
    sides = f"input.size={size[0]},{size[1]}"
    config = config_of("mae", *DECODER, *plain, sides, f"begin.file={folder}")
    beginning, parts = begun(config)
    image = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    net = parts.method.net
    inputs = net.inputs({"image": image.transpose(0, 2, 3, 1)})
    ours = net.encode(beginning.state.params, inputs, None)
    ours = np.concatenate([ours.prefix, ours.tokens], axis=1)
    theirs = encoded_by_transformers(other, image)
    assert np.abs(ours - theirs).max() < PARITY * np.abs(theirs).max()
    assert "drawn fresh         nothing" in beginning.sheet
    assert beginning.record["layout"] == "the layout of transformers' ViTMAEForPreTraining"


def test_the_tables_of_zeros_that_transformers_writes_are_computed(tmp_path):
    model = peer(CASE)
    with torch.no_grad():
        model.vit.embeddings.position_embeddings.zero_()
        model.decoder.decoder_pos_embed.zero_()
    folder = published(model, tmp_path / "vit-mae")
    beginning, _ = begun(config_of("mae", *DECODER, "input.size=24,16", f"begin.file={folder}"))
    assert "drawn fresh         nothing" in beginning.sheet
    assert "held zeros; sin-cos positions are computed" in " ".join(beginning.sheet.split())


@pytest.fixture(scope="module")
def timm_arrays():
    """Return the arrays of a timm ViT with a learned position table and a classifier."""
    rng = np.random.default_rng(1)
    shapes = {
        "cls_token": (1, 1, 16),
        "pos_embed": (1, 17, 16),
        "patch_embed.proj.weight": (16, 3, 4, 4),
        "patch_embed.proj.bias": (16,),
        "norm.weight": (16,),
        "norm.bias": (16,),
        "head.weight": (10, 16),
        "head.bias": (10,),
    }
    block = {
        "norm1.weight": (16,),
        "norm1.bias": (16,),
        "attn.qkv.weight": (48, 16),
        "attn.qkv.bias": (48,),
        "attn.proj.weight": (16, 16),
        "attn.proj.bias": (16,),
        "norm2.weight": (16,),
        "norm2.bias": (16,),
        "mlp.fc1.weight": (64, 16),
        "mlp.fc1.bias": (64,),
        "mlp.fc2.weight": (16, 64),
        "mlp.fc2.bias": (16,),
    }
    shapes |= {f"blocks.0.{name}": shape for name, shape in block.items()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_a_timm_vit_gives_its_encoder_with_its_positions(tmp_path, timm_arrays):
    write_arrays(tmp_path / "vit.safetensors", timm_arrays)
    learned = ("model.positions=learned", f"begin.file={tmp_path / 'vit.safetensors'}")
    beginning, _ = begun(config_of("mae", *DECODER, *learned))
    ours, table = flat(beginning.state.params), timm_arrays["pos_embed"][0]
    np.testing.assert_array_equal(ours["encoder/positions"], table[1:])
    np.testing.assert_allclose(
        ours["encoder/class_token"][0], timm_arrays["cls_token"][0] + table[:1]
    )
    assert "taken               encoder (" in beginning.sheet
    assert "drawn fresh         decoder" in beginning.sheet
    assert "left in the source  head" in beginning.sheet
    wide, _ = begun(config_of("mae", *DECODER, *learned, "input.size=16,24"))
    assert wide.record["resized"] == ["encoder/positions 4x4 -> 4x6"]
    with pytest.raises(WeightsError, match="positions='learned'"):
        begun(config_of("mae", *DECODER, learned[1]))


def test_a_last_norm_is_left_where_the_network_is_built_without_one(tmp_path, timm_arrays):
    """Fine-tuning by the mean of the patches, whose classifier has a norm of its own."""
    write_arrays(tmp_path / "vit.safetensors", timm_arrays)
    learned = ("model.positions=learned", f"begin.file={tmp_path / 'vit.safetensors'}")
    beginning, _ = begun(config_of("downstream/finetune", *learned))
    ours = flat(beginning.state.params)
    np.testing.assert_array_equal(ours["encoder/positions"], timm_arrays["pos_embed"][0, 1:])
    assert not any(name.startswith("encoder/norm/") for name in ours)
    assert "drawn fresh         classify" in beginning.sheet
    left = beginning.sheet.partition("left in the source")[2].splitlines()[0]
    assert left.split() == ["head,", "norm.weight,", "norm.bias"]
    with_norm, _ = begun(config_of("downstream/finetune", *learned, "model.last_norm=true"))
    norm = flat(with_norm.state.params)["encoder/norm/norm/scale"]
    np.testing.assert_array_equal(norm, timm_arrays["norm.weight"])


def test_a_patch_embedding_may_stay_fresh(tmp_path, timm_arrays):
    write_arrays(tmp_path / "vit.safetensors", timm_arrays)
    changes = ("model.positions=learned", "model.patch=8,8", "begin.take=encoder")
    config = config_of("mae", *DECODER, *changes, f"begin.file={tmp_path / 'vit.safetensors'}")
    with pytest.raises(WeightsError, match=r"(?s)patch_embed.proj.weight .*begin.fresh names"):
        begun(config)
    beginning, _ = begun(override(config, ["begin.fresh=encoder/embed"]))
    assert "encoder/embed" in beginning.sheet.partition("drawn fresh")[2].splitlines()[0]
    assert beginning.record["resized"] == ["encoder/positions 4x4 -> 2x2"]


def test_weights_equal_on_any_mesh(mae_run):
    """The mesh of one device; tests/resume/test_begin.py has eight."""
    folder, params = mae_run
    config = config_of("mae", *DECODER, f"begin.workdir={folder}", "mesh.data=1", "mesh.fsdp=-1")
    beginning, parts = begun(config)
    for path, leaf in named_leaves(beginning.state.params):
        assert leaf.sharding == dict(named_leaves(parts.shardings.params))[path]
        np.testing.assert_array_equal(leaf, params[path])


def said(*changes, name="mae", workdir="runs/other"):
    """Return what a config with a wrong source raises, before anything is read or while it is."""
    with pytest.raises(UserError) as error:
        config = config_of(name, *DECODER, *changes)
        check_begin(config, workdir)
        begun(config)
    return str(error.value)


def test_keys_that_do_not_fit_together_are_refused(tmp_path):
    both = said("begin.workdir=runs/a", "begin.file=b.safetensors")
    assert "begin.workdir=runs/a and begin.file=b.safetensors are both set" in both
    assert "begin.take without a source" in said("begin.take=encoder")
    assert "a file has one kind of weights" in said("begin.file=b", "begin.weights=average")
    assert "cannot begin from itself" in said(f"begin.workdir={tmp_path}", workdir=tmp_path)
    check_begin(config_of("mae"), tmp_path)
    parts = assemble(config_of("mae", *DECODER), 296)
    with pytest.raises(WeightsError, match=r"'encoder/embd', .* below encoder it has embed,"):
        check_selection(config_of("mae", *DECODER, "begin.fresh=encoder/embd"), parts)


def test_folders_that_are_no_source_are_refused(tmp_path, mae_run, timm_arrays):
    run, _ = mae_run
    foreign = tmp_path / "vit-mae"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"model_type": "vit_mae"}')
    assert f"use --config.begin.file={foreign}" in said(f"begin.workdir={foreign}")
    missing = said(f"begin.workdir={tmp_path / 'none'}")
    assert "begin.workdir: " in missing and "holds no run" in missing
    (tmp_path / "empty").mkdir()
    save_config(tmp_path / "empty", config_of("mae"))
    assert "has no checkpoint yet" in said(f"begin.workdir={tmp_path / 'empty'}")
    assert f"use --config.begin.workdir={run}" in said(f"begin.file={run}")
    assert "no weights at" in said(f"begin.file={tmp_path / 'none.safetensors'}")
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights")
    assert "cannot be read as safetensors" in said(f"begin.file={tmp_path / 'damaged.safetensors'}")
    assert "no model.safetensors: give" in said(f"begin.file={tmp_path / 'empty'}")
    (tmp_path / "empty" / "pytorch_model.bin").write_bytes(b"")
    assert "pytorch_model.bin is a pickle" in said(f"begin.file={tmp_path / 'empty'}")
    write_arrays(tmp_path / "other.safetensors", {"x": np.zeros(2, np.float32)})
    assert "is neither in the layout of" in said(f"begin.file={tmp_path / 'other.safetensors'}")
    write_arrays(tmp_path / "vit.safetensors", timm_arrays)
    learned = "model.positions=learned", "model.variant=2x16x2"
    deeper = said(f"begin.file={tmp_path / 'vit.safetensors'}", *learned)
    assert "missing: blocks.*.norm1.weight" in deeper


def test_networks_that_do_not_fit_are_refused(tmp_path, mae_run):
    run, _ = mae_run
    source = f"begin.workdir={run}"
    wider = said(source, "model.variant=1x32x2")
    assert "encoder/class_token: (1, 1, 16) in the source, (1, 1, 32) here" in wider
    grey = said(source, "input.channels=1", "input.mean=0.5", "input.std=0.5")
    assert "--config.begin.fresh=decoder/head_pixels,encoder/embed/kernel" in grey
    assert "tokens of 4x4 with 3 channels" in said(source, "model.patch=2,8")
    folder = published(peer(CASE), tmp_path / "vit-mae")
    heads = said(f"begin.file={folder}", "model.variant=1x16x4")
    assert "config.json says 2 heads, the encoder of this network has 4" in heads
    assert "decoder of this network has 4" in said(f"begin.file={folder}", "model.decoder_heads=4")


def test_a_relative_path_and_a_home_folder_are_found(mae_run, monkeypatch):
    folder, _ = mae_run
    monkeypatch.setenv("HOME", str(folder.parent))
    config = config_of("mae", *DECODER, "begin.workdir=~/a")
    assert begun(config)[0].record["run"] == str(folder)
    with pytest.raises(ConfigError, match="itself"):
        check_begin(config, folder)
    relative = config_of("mae", *DECODER, "begin.workdir=a")
    monkeypatch.chdir(folder.parent)
    assert begun(relative)[0].record["run"] == str(folder)


def test_files_in_the_names_of_a_state_dict_are_read(tmp_path):
    arrays = {name: np.asarray(array) for name, array in state_of(peer(CASE)).items()}
    write_arrays(tmp_path / "mae.safetensors", arrays)
    config = config_of("mae", *DECODER, f"begin.file={tmp_path / 'mae.safetensors'}")
    assert "taken               encoder, decoder" in begun(config)[0].sheet
