"""What may be loaded, and what a model says of itself."""

import json
import shutil

import jax
import numpy as np
import pytest

from maskmim.checkpoints.reader import CheckpointError
from maskmim.inference import InferenceError, load
from maskmim.inference.loaded import in_float32_on_cpu
from maskmim.interop import own_layout
from maskmim.tree_paths import named_leaves
from tests.inference.conftest import STEPS


def test_a_work_directory_and_one_of_its_checkpoints(workdir, model):
    first = load(workdir / "checkpoints" / "3")
    assert (first.step, model.step) == STEPS == (3, 8)
    doubled = jax.tree.map(lambda leaf: 2 * np.asarray(leaf), first.params)
    jax.tree.map(np.testing.assert_array_equal, doubled, model.params)
    assert (model.size, model.grid, model.width) == ((32, 32), (4, 4), 32)
    assert model.config.mask.ratio == 0.75


def test_what_it_says(workdir, model):
    text = str(model)
    for words in ("step 8", "masked", "2 blocks, width 32", "image 32x32x3, 4x4 tokens", "grocery"):
        assert words in text
    assert "knn/fine/top1 25.0 %" in text and "128 images seen" in text
    assert "25.0 % (at step 8)" in str(load(workdir / "checkpoints" / "3"))
    assert repr(model) == f"Model(vit_mae, image 32x32, {workdir}, step 8)"


def test_what_it_says_of_other_results(workdir, tmp_path):
    copied = shutil.copytree(workdir, tmp_path / "run")
    metrics = {
        "label_accuracy/fine": 0.482,
        "label_accuracy/fine/top5": 0.75,
        "segmentation/linear/miou": 0.31,
        "depth/linear/rmse": 0.1234,
        "corruptions/mean_error": 0.6,
    }
    results = {"step": 8, "measures": {"metrics": metrics}}
    (copied / "results.json").write_text(json.dumps(results))
    (_, text) = str(load(copied)).split("results")
    assert " ".join(text.split()) == (
        "label_accuracy/fine 48.2 %, segmentation/linear/miou 31.0 %, depth/linear/rmse 0.123, "
        "corruptions/mean_error 60.0 %"
    )


@pytest.mark.parametrize(
    ("below", "keywords", "words"),
    [
        ("checkpoints/5", {}, "there is nothing at"),
        ("nowhere", {}, "there is nothing at .*nowhere"),
        ("", {"heads": 2}, "is a run, whose config says all of it: leave heads"),
        ("", {"size": 30}, r"size=30x30: .*do not divide into patches of 8x8.*trained with 32x32"),
        (
            "",
            {"size": (8, 32, 32)},
            r"size=\(8, 32, 32\): give a side, or all 2 of them as \(32, 32\)",
        ),
        ("", {"batch_size": 0}, "batch_size=0: give 1 or more"),
    ],
)
def test_what_cannot_be_loaded(workdir, below, keywords, words):
    with pytest.raises(InferenceError, match=words):
        load(workdir / below, **keywords)


def test_a_checkpoint_that_is_not_kept_is_named(workdir, tmp_path):
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    with pytest.raises(CheckpointError, match=r"checkpoint 5 of .* cannot be read"):
        load(tmp_path / "checkpoints" / "5")


def test_a_cpu_computes_in_float32(model):
    config = model.config.copy_and_resolve_references()
    with config.unlocked():
        config.model.compute.dtype = "bfloat16"
    assert in_float32_on_cpu(config).model.compute.dtype == "float32"
    assert config.model.compute.dtype == "bfloat16"


def test_a_folder_that_export_wrote(workdir, model, tmp_path):
    arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(model.params)}
    own_layout.save(tmp_path / "model.safetensors", arrays, {})
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    exported = load(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, exported.params, model.params)
    assert exported.step is None and exported.loaded.decoder
    (tmp_path / "config.json").unlink()
    with pytest.raises(InferenceError, match=r"without the config\.json of their run"):
        load(tmp_path / "model.safetensors")
