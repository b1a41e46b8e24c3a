"""Folders for transformers: loaded strictly and offline, their features are those of the run."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from maskmim.config.bricks import bind
from maskmim.exports import hf as exports_hf
from maskmim.exports.subject import ExportError
from maskmim.exports.targets import prepare
from maskmim.masks.core import from_scores
from tests.compiling import quick_jit
from tests.exports.peers import channels_first, strictly, tokens_of
from tests.exports.subjects import difference, encode, inputs_of, subject_of
from tests.tolerances import REORDERED

CLIPS = "model.variant=1x24x2", "model.decoder=1x24x2"
POOLER = {"add_pooling_layer": False}
# Config, changes of it, the class of transformers, options of from_pretrained.
ENCODERS = {
    "vit": ("mae:tiny", (), "ViTModel", POOLER),
    "learned positions, other mlp": (
        "mae:tiny",
        ("model.positions=learned", "model.variant=2x32x2x80", "model.norm_eps=1e-5"),
        "ViTModel",
        POOLER,
    ),
    "wide picture": ("mae:tiny", ("input.size=(16,32)",), "ViTModel", POOLER),
    "mask embedding": ("maskfeat:tiny", (), "ViTModel", POOLER),
    "projection head": ("attmask:tiny", (), "ViTModel", POOLER),
    "no last norm": ("crossmae:tiny", (), "ViTModel", POOLER),
    "regions": ("r_mae:tiny", (), "ViTModel", POOLER),
    "source embeddings": ("mixed_ae:tiny", (), "ViTModel", POOLER),
    "decoders of blocks": ("local_mim:tiny", (), "ViTModel", POOLER),
    "parameters of calls": ("lut:tiny", (), "ViTModel", POOLER),
    "layer scale": ("cae:tiny", (), "Dinov2Model", {}),
    "registers": ("mae:tiny", ("model.registers=3",), "Dinov2WithRegistersModel", {}),
    "beit": ("simmim:tiny", (), "BeitModel", {}),
    "beit v2": ("beit_v2:tiny", (), "BeitModel", {}),
    "swin": ("simmim:model=swin,tiny", (), "SwinModel", {}),
    "convnext": ("convnext_v2:tiny", (), "ConvNextV2Model", {}),
    "videomae": ("videomae:tiny", (), "VideoMAEModel", {}),
}


def written(subject, folder, **options):
    prepared = prepare(subject, "a run", "hf", **{"encoder_only": False, **options})
    folder.mkdir(exist_ok=True)
    prepared.fill(folder)
    return folder


def test_vit_mae_predicts_what_the_run_predicts(tmp_path):
    subject = subject_of("mae:tiny", "mask.ratio=0.5")
    model = strictly(written(subject, tmp_path / "hf"))
    inputs = inputs_of(subject)
    noise = np.random.default_rng(2).permuted(np.tile(np.arange(16.0), (len(inputs), 1)), axis=1)
    output = model(channels_first(inputs), noise=torch.from_numpy(noise).float())

    mask = from_scores(-noise, ratio=0.5)
    predicted = predict(subject, inputs, mask)
    theirs = np.take_along_axis(
        output.logits.detach().numpy(), np.asarray(mask.predict)[..., None], axis=1
    )
    assert difference(predicted, theirs) < REORDERED
    config = json.loads((tmp_path / "hf/config.json").read_text())
    assert (config["mask_ratio"], config["norm_pix_loss"]) == (0.5, True)
    assert model.config.layer_norm_eps == subject.config.model.norm_eps


def predict(subject, inputs, mask):
    @quick_jit
    def run(params, inputs, mask):
        encoded = subject.net.encode(params, inputs, mask)
        return subject.net.predict(params, encoded, mask)["pixels"]

    return run(subject.params, inputs, mask)


@pytest.mark.full
@pytest.mark.parametrize("name", ENCODERS)
def test_features_are_those_of_the_run(name, tmp_path):
    config, changes, architecture, options = ENCODERS[name]
    subject = subject_of(config, *changes)
    model = strictly(written(subject, tmp_path, encoder_only=True), **options)
    assert type(model).__name__ == architecture
    inputs = inputs_of(subject)
    with torch.no_grad():
        theirs = tokens_of(model(channels_first(inputs)).last_hidden_state)
    ours = np.concatenate(encode(subject, inputs), axis=1)
    assert difference(ours, theirs) < REORDERED


@pytest.mark.full
@pytest.mark.parametrize("name", ["mae:tiny", "videomae:tiny"])
def test_the_processor_makes_the_inputs_of_evaluation(name, tmp_path):
    """Equal up to Pillow's rounding: they resize and crop in two steps, we in one."""
    from transformers import AutoImageProcessor

    subject = subject_of(name)
    written(subject, tmp_path, encoder_only=True)
    size = (67, 51, 3) if len(subject.spec.size) == 2 else (subject.spec.size[0], 67, 51, 3)
    smooth = np.linspace(0, 255, int(np.prod(size[-3:-1]))).reshape(*size[-3:-1], 1)
    picture = np.broadcast_to(smooth, size).astype(np.uint8)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    given = picture if len(size) == 3 else list(picture)
    theirs = np.asarray(processor(given, return_tensors="np")["pixel_values"])[0]
    crop = bind(subject.config.evals.transform)(None, picture, subject.spec.size)
    ours = np.asarray(subject.net.inputs({subject.spec.stream: crop[None]}))[0]
    assert np.abs(np.moveaxis(ours, -1, -3) - theirs).mean() < 0.1


@pytest.mark.full
@pytest.mark.parametrize("target", ["hf", "timm"])
def test_the_lines_of_the_card_give_the_features_of_a_photograph(target, tmp_path):
    """Near those of evaluation, which resizes and crops in one step; sides that divide evenly."""
    pytest.importorskip("timm" if target == "timm" else "transformers")
    subject = subject_of("mae:tiny", "input.size=(56,56)")  # 7/8 of 64, half of 128
    prepare(subject, "a run", target, encoder_only=target == "hf").fill(tmp_path)
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((128, 128))
    photo.save(tmp_path / "photo.png")
    lines = (tmp_path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    lines = lines.replace("path/to/this/folder", str(tmp_path))
    given = {}
    exec(lines.replace("photo.jpg", str(tmp_path / "photo.png")), given)

    crop = bind(subject.config.evals.transform)(None, np.asarray(photo), subject.spec.size)
    inputs = np.asarray(subject.net.inputs({"image": crop[None]}))
    ours = np.concatenate(encode(subject, inputs), axis=1)
    theirs = given["features" if target == "hf" else "tokens"].detach().numpy()
    assert difference(ours, theirs) < 0.1


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("capi:tiny", (), "no counterpart"),
        ("mae:tiny", ("model.class_token=false",), "--to timm has one"),
        ("mae:tiny", ("input.size=(16,32)", "model.registers=2"), "square inputs only"),
        ("videomae:tiny", ("model.positions=sincos", *CLIPS), "sinusoid positions"),
        ("finetune:tiny", (), "norm behind the last block"),
    ],
)
def test_what_transformers_lacks_is_refused(name, changes, words):
    with pytest.raises(ExportError, match=words) as error:
        exports_hf.hf(subject_of(name, *changes), encoder_only=True)
    assert "--to" in str(error.value) and "\n" not in str(error.value)
