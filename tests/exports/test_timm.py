"""Folders for timm: `local-dir:` loads them, and their features are those of the run."""

import importlib.util

import numpy as np
import pytest
import torch

from maskmim.exports.subject import ExportError
from maskmim.exports.targets import prepare
from maskmim.exports.timm import timm as exports_timm
from tests.exports.peers import channels_first, tokens_of
from tests.exports.subjects import difference, encode, inputs_of, subject_of
from tests.tolerances import REORDERED

WITHOUT_PREFIX = ("model.class_token=false",)
ENCODERS = {
    "vit": ("mae:tiny", ()),
    "wide picture, other mlp": ("mae:tiny", ("input.size=(16,32)", "model.variant=2x32x2x80")),
    "registers": ("mae:tiny", ("model.registers=3", "model.positions=learned")),
    "no class token": ("mae:tiny", WITHOUT_PREFIX),
    "registers alone": ("mae:tiny", (*WITHOUT_PREFIX, "model.registers=2")),
    "one channel": ("audio_mae:tiny", ()),
    "mask embedding": ("attmask:tiny", ()),
    "layer scale": ("cae:tiny", ()),
    "class tokens": ("pixio:tiny", ()),
    "no last norm": ("finetune:tiny", ("calls.classify.norm_eps=1e-3",)),
    "beit": ("simmim:tiny", ()),
    "swin": ("simmim:model=swin,tiny", ()),
    "convnext": ("convnext_v2:tiny", ("model.variant=8x1-2-1-1", "input.size=(64,64)")),
}
needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is not installed"
)


def pooled(subject, prefix, tokens):
    """Return what evaluation pools."""
    return prefix[:, 0] if subject.config.evals.pooling == "class" else tokens.mean(axis=1)


@needs_timm
@pytest.mark.full
@pytest.mark.parametrize("name", ENCODERS)
def test_features_are_those_of_the_run(name, tmp_path):
    import timm

    config, changes = ENCODERS[name]
    subject = subject_of(config, *changes)
    prepare(subject, "a run", "timm", encoder_only=False).fill(tmp_path)
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    inputs = inputs_of(subject)
    with torch.no_grad():
        theirs = model.forward_features(channels_first(inputs))
        features = model(channels_first(inputs)).numpy()
    if name == "swin":  # rows, columns, channels
        theirs = theirs.permute(0, 3, 1, 2)
    prefix, tokens = encode(subject, inputs)
    ours = np.concatenate([prefix, tokens], axis=1)
    assert difference(ours, tokens_of(theirs)) < REORDERED
    if name != "convnext":  # whose pooled features pass a fresh norm
        assert difference(pooled(subject, prefix, tokens), features) < REORDERED
    settings = timm.data.resolve_data_config(model=model)
    assert tuple(settings["mean"]) == subject.spec.mean
    assert tuple(settings["std"]) == subject.spec.std
    assert settings["input_size"][1:] == subject.spec.size
    assert settings["crop_pct"] == subject.config.evals.transform.get("crop_fraction", 1.0)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("mae:tiny", ("model.norm_eps=1e-12",), "add 1e-06 to the variance"),
        ("convnext_v2:tiny", (), "four stages"),
        ("simmim:tiny", ("input.size=(16,32)",), "not square"),
        ("videomae:tiny", (), "sees clips"),
    ],
)
def test_what_timm_lacks_is_refused(name, changes, words):
    with pytest.raises(ExportError, match=words) as error:
        exports_timm(subject_of(name, *changes))
    assert "--to" in str(error.value) and "\n" not in str(error.value)
