"""Fine-tuned classifiers in folders for transformers and timm: equal logits, named classes."""

import numpy as np
import pytest
import timm
import torch
from safetensors.numpy import load_file

import maskmim
from maskmim.data.grocery import grocery
from maskmim.exports.classifier import classifier_of
from maskmim.exports.hf import hf
from maskmim.exports.targets import prepare
from maskmim.exports.timm import timm as to_timm
from tests.exports.peers import channels_first, strictly, tokens_of
from tests.exports.subjects import difference, encode, inputs_of, subject_of
from tests.tolerances import REORDERED

MEAN, CLASS = "finetune:tiny", "finetune:tiny,pooling=class"
NAMES = list(grocery(split="val").labels["fine"])


def written(config, folder, target, *changes):
    subject = subject_of(config, *changes)
    folder.mkdir(exist_ok=True)
    prepare(subject, "a run", target, encoder_only=False).fill(folder)
    return subject, inputs_of(subject)


def logits_of(subject, inputs):
    """Logits of the run's own function of pooled features."""
    prefix, tokens = encode(subject, inputs)
    classes = subject.config.evals.pooling == "class"
    return subject.net.calls["classify"](
        subject.params, prefix[:, 0] if classes else tokens.mean(axis=1)
    )


def test_transformers_classifies_by_the_class_token(tmp_path):
    subject, inputs = written(CLASS, tmp_path, "hf")
    model = strictly(tmp_path)
    assert type(model).__name__ == "ViTForImageClassification"
    assert [model.config.id2label[number] for number in range(len(NAMES))] == NAMES
    assert model.config.label2id[NAMES[7]] == 7
    with torch.no_grad():
        theirs = model(channels_first(inputs)).logits
        tokens = model.vit(channels_first(inputs)).last_hidden_state
    assert difference(logits_of(subject, inputs), theirs) < REORDERED
    ours = np.concatenate(encode(subject, inputs), axis=1)
    assert difference(ours, tokens_of(tokens)) < REORDERED
    card = (tmp_path / "README.md").read_text()
    assert "pipeline_tag: image-classification" in card and "id2label" in card
    assert "Left out" not in card


def test_the_encoder_alone_is_still_had():
    made = hf(subject_of(CLASS), encoder_only=True)
    assert made.architecture == "ViTModel" and "Left out: the learned function" in made.remarks[1]


CASES = {
    "mean": (MEAN, (), {"fc_norm.weight", "fc_norm.bias"}),
    "class": (CLASS, (), {"norm.weight", "norm.bias"}),
    "registers": (MEAN, ("model.registers=2",), {"fc_norm.weight", "fc_norm.bias"}),
}


@pytest.mark.parametrize(
    "name", ["mean", *(pytest.param(n, marks=pytest.mark.full) for n in list(CASES)[1:])]
)
def test_timm_classifies(name, tmp_path):
    config, changes, norm = CASES[name]
    subject, inputs = written(config, tmp_path, "timm", *changes)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert {n for n in names if n.startswith(("norm", "fc_norm"))} == norm
    assert {"head.weight", "head.bias"} <= names
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert set(model.state_dict()) == names
    assert model.pretrained_cfg["label_names"] == NAMES
    with torch.no_grad():
        theirs = model(channels_first(inputs))
        tokens = model.forward_features(channels_first(inputs))
    assert difference(logits_of(subject, inputs), theirs) < REORDERED
    ours = np.concatenate(encode(subject, inputs), axis=1)
    assert difference(ours, tokens_of(tokens)) < REORDERED
    assert "pipeline_tag: image-classification" in (tmp_path / "README.md").read_text()


@pytest.mark.full
def test_timm_leaves_the_classifier_out_where_asked(tmp_path):
    subject, inputs = written(CLASS, tmp_path, "timm")
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=0).eval()
    with torch.no_grad():
        features = model(channels_first(inputs))
    assert difference(encode(subject, inputs)[0][:, 0], features) < REORDERED


@pytest.mark.parametrize(("config", "target"), [(MEAN, "timm"), (CLASS, "timm"), (CLASS, "hf")])
def test_such_folders_give_the_features_of_the_run(config, target, tmp_path):
    subject, _ = written(config, tmp_path, target, "input.size=(48,32)")
    model = maskmim.load(tmp_path, crop=False)
    assert model.config.model.variant.split("x")[2] == "2"  # heads, which no shape says
    pixels = np.random.default_rng(0).integers(0, 256, (2, 48, 32, 3), np.uint8)
    prefix, tokens = encode(subject, np.asarray(subject.net.inputs({"image": pixels})))
    assert difference(model.encode(pixels, pooling=None), tokens) < REORDERED
    assert difference(model.encode(pixels, pooling="class"), prefix[:, 0]) < REORDERED


def test_classes_are_numbers_where_their_images_are_gone(tmp_path):
    subject = subject_of(
        CLASS,
        "data.train.brick=maskmim.data.folder.labelled",
        f"data.train.path={tmp_path / 'gone'}",
    )
    made = hf(subject)
    assert made.config["id2label"]["3"] == "3" and "Classes are numbers" in made.remarks[0]


@pytest.mark.parametrize(
    "changes",
    [
        ("calls.classify.norm_eps=1e-3",),  # which timm's ViT does not take
        ("model.last_norm=true",),  # two norms
    ],
)
def test_a_classifier_that_does_not_fit_is_left_out_and_said(changes):
    made = to_timm(subject_of(MEAN, *changes))
    assert made.config["num_classes"] == 0 and not any("head" in name for name in made.arrays)
    assert "Left out: the learned function classify." in made.remarks


def test_others_have_none():
    assert classifier_of(subject_of("mae:tiny")) is None
    assert classifier_of(subject_of("lut:tiny")) is None
