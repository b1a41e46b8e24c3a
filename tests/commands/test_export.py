"""The command that exports a run, and which weights of it."""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from maskmim import export
from maskmim.config import load
from maskmim.config.load import override
from maskmim.exports.subject import ExportError, read_subject
from maskmim.tree_paths import named_leaves
from tests.exports.peers import strictly
from tests.interop.test_begin import DECODER, SMALL, begun, config_of, flat, saved_run
from tests.running import ROOT


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mae_a"
    saved_run(folder, override(load(str(ROOT / "configs/mae.py:tiny")), [*SMALL, *DECODER]))
    return folder


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_run_becomes_a_folder(run_folder, tmp_path, capsys):
    before, out = files(run_folder), tmp_path / "out"
    words = [f"--workdir={run_folder}", "--to=hf", f"--out={out}"]
    assert export.main(words) == 0
    shown = capsys.readouterr().out
    assert "transformers: ViTMAEForPreTraining" in shown and "step 5, weights: trained" in shown
    for name in ("config.json", "model.safetensors", "preprocessor_config.json", "README.md"):
        size = (out / name).stat().st_size
        assert f"{size:,} bytes  {out / name}" in shown
    assert strictly(out).config.mask_ratio == 0.75
    assert "# mae_a" in (out / "README.md").read_text()
    assert files(run_folder) == before
    with pytest.raises(ExportError, match="--force"):
        export.main(words)
    assert export.main([*words, "--force", "--encoder-only"]) == 0
    assert "transformers: ViTModel" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--to is missing"),
        (["--to=hf"], "--out is missing"),
        (["--to=coreml", "--out=OUT"], "--to coreml: there are hf, timm, jax, onnx, safetensors"),
        (["--to=timm", "--out=OUT", "--encoder-only"], "has no decoder anyway"),
        (["--to=hf", "--out=OUT", "--weights=teacher"], "it has 'evaluated', 'trained'"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(run_folder, tmp_path, words, message):
    out = tmp_path / "out"
    words = [word.replace("OUT", str(out)) for word in words]
    with pytest.raises(ExportError, match=message):
        export.main([f"--workdir={run_folder}", *words])
    assert not out.exists()


@pytest.mark.full
def test_our_own_layout_begins_a_run(run_folder, tmp_path):
    out = tmp_path / "out"
    assert export.main([f"--workdir={run_folder}", "--to=safetensors", f"--out={out}"]) == 0
    stored = load_file(out / "model.safetensors")
    beginning, _ = begun(config_of("mae", *DECODER, f"begin.file={out}"))
    taken = flat(beginning.state.params)
    assert taken.keys() == stored.keys()
    for path, array in taken.items():
        np.testing.assert_array_equal(array, stored[path], err_msg=path)
    wide = config_of("mae", *DECODER, "input.size=16,24", f"begin.file={out}/model.safetensors")
    assert begun(wide)[0].record["layout"] == "the layout of maskmim"


EMA = "ema.brick=maskmim.teachers.momentum.constant", "ema.value=0.9"


def plus_one(state):
    return state._replace(extra=jax.tree.map(lambda x: x + 1, state.extra))


@pytest.mark.full
@pytest.mark.parametrize(
    ("config", "average"),
    [
        (("mae", *DECODER, *EMA), "average"),
        (("attmask", "model.prototypes=8", "model.hidden=8", "model.bottleneck=4"), "teacher"),
        (("capi",), "average"),
    ],
)
def test_weights_are_those_of_evaluation_unless_others_are_named(config, average, tmp_path):
    name, *changes = config
    crops = ["data.augment.local_size=8,8"] if name == "attmask" else []
    made = config_of(name, *changes, *crops) if name != "capi" else load("configs/capi.py:tiny")
    state = saved_run(tmp_path / "a", made, change=plus_one)
    params, extra = flat(state.params), flat(state.extra)
    chosen = {weights: read_subject(tmp_path / "a", weights) for weights in (None, "trained")}
    assert chosen[None].weights == average
    assert chosen[None].is_evaluated and not chosen["trained"].is_evaluated
    for path, leaf in named_leaves(chosen["trained"].params):
        np.testing.assert_array_equal(leaf, params[path], err_msg=path)
    for path, leaf in named_leaves(chosen[None].params):
        kept = extra.get(f"{average}/{path}", params[path])
        np.testing.assert_array_equal(leaf, kept, err_msg=path)
    assert any(f"{average}/{path}" in extra for path, _ in named_leaves(chosen[None].params))
    named = read_subject(tmp_path / "a", average)
    for (path, one), (_, other) in zip(
        named_leaves(named.params), named_leaves(chosen[None].params), strict=True
    ):
        np.testing.assert_array_equal(one, other, err_msg=path)


@pytest.mark.full
def test_the_newest_sound_checkpoint_is_enough(run_folder, tmp_path):
    """A folder without config.json, whose older checkpoint is damaged."""
    folder, config = tmp_path / "b", config_of("mae", *DECODER)
    saved_run(folder, config, step=3)
    saved_run(folder, config, step=9, seed=8)
    (folder / "config.json").unlink()
    for path in (folder / "checkpoints/3").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    assert read_subject(folder).step == 9
