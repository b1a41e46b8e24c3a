"""Weights of other libraries are evaluated by the very features that these libraries compute."""

import json

import jax
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    ViTConfig,
    ViTModel,
)

from maskmim.config import load as load_config
from maskmim.config import override
from maskmim.evals.before_training import check_evaluators
from maskmim.evals.held_out import held_out
from maskmim.evals.run import UNTRAINED, finish, with_monitors
from maskmim.evals.trained import trained_of
from maskmim.inference.file_source import Said, of_file
from maskmim.inference.loaded import InferenceError, with_size
from maskmim.inference.weights_evaluation import check_layout, evaluation_of, weights_record
from maskmim.reporting.metrics_file import OURS
from tests.inference.test_file_source import CASE, MEAN, STD, as_torch, close, pictures
from tests.interop.transformers_mae import peer
from tests.interop.transformers_simmim import randomised

pytestmark = pytest.mark.full
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "image_size": 32,
    "patch_size": 8,
    "layer_norm_eps": 1e-6,
}
SAID = Said(heads=2, decoder_heads=2, mean=MEAN, std=STD)
# A quick evaluation on a few of the photographs.
FLAGS = [f"evals.{split}.split=val" for split in ("train", "test")]
FLAGS += ["evals.probes.linear_probe.epochs=3", "evals.probes.linear_probe.warmup_epochs=1"]
FLAGS += ["evals.batch_size=32", "evals.measures.held_out.images=8"]


def config_of(*flags):
    return override(load_config("mae:tiny"), [*FLAGS, *flags])


def tokens_of(model, images):
    """Tokens f32[B, 1 + N, D] that transformers computes, registers left out."""
    with torch.no_grad():
        found = model(as_torch(images)).last_hidden_state
    registers = getattr(model.config, "num_register_tokens", 0)
    return torch.cat([found[:, :1], found[:, 1 + registers :]], dim=1)


def of_transformers(model):
    def write(folder):
        model.save_pretrained(folder)
        return folder, lambda images: tokens_of(model, images)

    return write


def mae(folder):
    model = peer(CASE)
    model.save_pretrained(folder)

    def encode(images):
        with torch.no_grad():
            noise = torch.arange(16.0).repeat(len(images), 1)
            model.vit.config.mask_ratio = model.vit.embeddings.config.mask_ratio = 0.0
            return model.vit(as_torch(images), noise=noise).last_hidden_state

    return folder, encode


def of_timm(folder):
    keywords = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    model = randomised(timm.models.VisionTransformer(**keywords, num_classes=5)).eval()
    save_file(model.state_dict(), folder / "model.safetensors")

    def encode(images):
        with torch.no_grad():
            return model.forward_features(as_torch(images))

    return folder / "model.safetensors", encode


FILES = {
    "hf": of_transformers(randomised(ViTModel(ViTConfig(**SIZES))).eval()),
    "mae": mae,
    "timm": of_timm,
    "dinov2": of_transformers(randomised(Dinov2Model(Dinov2Config(**SIZES))).eval()),
    "registers": of_transformers(
        randomised(
            Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SIZES, num_register_tokens=3))
        ).eval()
    ),
}
LAYOUTS = {"mae": "hf", "registers": "dinov2"}


@pytest.mark.parametrize("kind", FILES)
def test_probes_see_the_features_of_the_other_library(kind, tmp_path):
    path, theirs = FILES[kind](tmp_path)
    loaded, images = of_file(str(path), SAID), pictures(32)
    check_layout(loaded, LAYOUTS.get(kind, kind))
    expected = theirs(images)
    batch = {"image": images}
    for pooling, tokens in (("class", expected[:, 0]), ("mean", expected[:, 1:].mean(1))):
        flag = f"evals.pooling={pooling}"
        evaluation = evaluation_of(loaded, config_of(flag), tmp_path)
        close(evaluation.encoder(batch), tokens)
    assert not np.allclose(evaluation.untrained_encoder(batch), expected[:, 1:].mean(1), atol=1e-2)


def test_an_encoder_alone_is_probed_and_not_masked(tmp_path, capsys):
    path, _ = FILES["timm"](tmp_path)
    loaded, line = with_size(of_file(str(path), SAID), (48, 48))
    assert "used with 48x48" in line
    evaluation = evaluation_of(loaded, config_of(), tmp_path / "out")
    names = with_monitors(
        ("knn", "linear_probe", "reconstruction"),
        ("effective_rank", "feature_std", "held_out", "agreement"),
        evaluation.parts,
    )
    assert names[3:] == ("effective_rank", "feature_std")
    (told,) = check_evaluators(evaluation.config, evaluation.parts, ["knn", "held_out"])
    assert told.startswith("held_out will be skipped: this method has no objective")
    results, problem = finish(evaluation, names, weights=weights_record(loaded))
    assert problem is None and "reconstruction" not in results
    why = results["skipped"]["reconstruction"]
    assert why.startswith("these weights are an encoder's, without the decoder")
    assert json.loads((tmp_path / "out" / "results.json").read_text())["skipped"] == {
        "reconstruction": why
    }
    assert "reconstruction skipped: these weights are an encoder's" in capsys.readouterr().out
    encoders = results["probes"]["encoders"]
    assert list(encoders) == ["raw pixels", "colour histogram", UNTRAINED, OURS]
    assert encoders[OURS] != encoders[UNTRAINED] and encoders[OURS]["dimensions"] == 32
    assert results["weights"]["layout"] == "timm" and results["weights"]["input"] == "48x48"
    assert not (tmp_path / "out" / "images" / "loss.png").exists()


def test_weights_with_a_decoder_reconstruct(tmp_path):
    folder, _ = FILES["mae"](tmp_path)
    loaded = of_file(str(folder), SAID)
    evaluation = evaluation_of(loaded, config_of("train.batch_size=8"), tmp_path / "out")
    results, problem = finish(evaluation, ["reconstruction", "held_out"])
    assert problem is None and results["reconstruction"]["reconstruction/mse"] > 0
    trained = trained_of(evaluation)
    assert {m.name for m in held_out(trained, images=8)} == {"held_out/loss"}
    jax.tree.map(
        np.testing.assert_array_equal, evaluation.variables.params, loaded.variables.params
    )


@pytest.mark.parametrize(
    ("asked", "found"), [("dinov2", "hf"), ("timm", "hf"), ("mae", "hf"), ("keras", "one of hf")]
)
def test_another_layout_is_refused(asked, found, tmp_path):
    loaded = of_file(str(FILES["hf"](tmp_path)[0]), SAID)
    with pytest.raises(InferenceError, match=found):
        check_layout(loaded, asked)


def test_data_of_another_kind_are_refused(tmp_path):
    loaded = of_file(str(FILES["timm"](tmp_path)[0]), SAID)
    with pytest.raises(InferenceError, match=r"config have the streams \['colours', 'grey'"):
        evaluation_of(loaded, load_config("multimae:tiny"), tmp_path)


def test_the_official_mae_without_its_decoder_is_in_the_names_of_timm(tmp_path):
    check_layout(of_file(str(FILES["timm"](tmp_path)[0]), SAID), "mae")
