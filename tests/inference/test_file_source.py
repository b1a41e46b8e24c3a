"""Files of transformers and timm give the features of these libraries."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    ViTMAEModel,
)

from maskmim import embed
from maskmim.inference import InferenceError, load
from maskmim.inference.file_source import config_of_file
from maskmim.interop import huggingface, mae_official
from maskmim.interop.difference import WeightsError
from tests.interop.transformers_mae import Case, our_net, peer
from tests.interop.transformers_simmim import randomised
from tests.tolerances import PARITY

pytestmark = pytest.mark.full
CASE = Case("mae", encoder=(3, 32, 2, 96))
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def pictures(side, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def as_torch(images):
    normalised = (images / 255.0 - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(normalised.astype(np.float32).transpose(0, 3, 1, 2))


def close(found, expected):
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, atol=PARITY * np.abs(expected).max(), rtol=0)


@pytest.fixture(scope="module")
def mae_folder(tmp_path_factory):
    """A folder that save_pretrained wrote, with its mean and deviation."""
    folder = tmp_path_factory.mktemp("mae")
    peer(CASE).save_pretrained(folder)
    said = {"image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


def test_a_folder_of_save_pretrained(mae_folder):
    model, images = load(mae_folder, crop=False), pictures(32)
    theirs = ViTMAEModel.from_pretrained(mae_folder, mask_ratio=0.0).eval()
    with torch.no_grad():
        noise = torch.arange(16.0).repeat(2, 1)
        states = theirs(as_torch(images), noise=noise, output_hidden_states=True)
    close(model.encode(images, pooling=None), states.last_hidden_state[:, 1:])
    close(model.encode(images, pooling="class"), states.last_hidden_state[:, 0])
    close(
        model.encode(images, layers=(0, -1), pooling="class")[:, 0], states.hidden_states[1][:, 0]
    )
    made = model.reconstruct(images)
    assert made.reconstruction.shape == images.shape and made.hidden.sum() == 2 * 12
    shown = np.repeat(np.repeat(made.hidden, 8, 1), 8, 2)
    np.testing.assert_array_equal(made.reconstruction[~shown], images[~shown])
    assert (made.reconstruction[shown] != images[shown]).any()
    assert "image 32x32x3" in str(model) and model.step is None


def test_the_heads_of_a_file_alone(mae_folder, tmp_path):
    encoder = {
        name: array
        for name, array in load_file(mae_folder / "model.safetensors").items()
        if not name.startswith("decoder.")
    }
    save_file(encoder, tmp_path / "encoder.safetensors")
    with pytest.raises(InferenceError, match=r"3 blocks of width 32 are no usual ViT.*heads="):
        load(tmp_path / "encoder.safetensors")
    given = {"heads": 2, "mean": MEAN, "std": STD, "crop": False}
    model, images = load(tmp_path / "encoder.safetensors", **given), pictures(32)
    whole = load(mae_folder, crop=False)
    close(model.encode(images), whole.encode(images))
    with pytest.raises(InferenceError, match="an encoder without its decoder"):
        model.reconstruct(images)


def test_the_heads_of_a_file_alone_are_flags_of_embed(mae_folder, tmp_path):
    arrays = load_file(mae_folder / "model.safetensors")
    file, photos, out = (tmp_path / name for name in ("encoder.safetensors", "photos", "f.npz"))
    save_file({name: a for name, a in arrays.items() if not name.startswith("decoder.")}, file)
    photos.mkdir()
    for number, pixels in enumerate(pictures(32)):
        Image.fromarray(pixels).save(photos / f"{number}.png")
    flags = ["--heads=2", "--mean=0.4,0.5,0.6", "--std=0.2,0.25,0.3"]
    embed.main([f"--source={file}", f"--data=folder:{photos}", f"--out={out}", *flags])
    close(np.load(out)["features"], load(mae_folder).encode(photos))


@pytest.mark.parametrize("registers", [0, 3])
def test_dinov2(tmp_path, registers):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"image_size": 32, "patch_size": 8, "layer_norm_eps": 1e-6}
    if registers:
        config = Dinov2WithRegistersConfig(**sizes, num_register_tokens=registers)
        theirs = randomised(Dinov2WithRegistersModel(config)).eval()
    else:
        theirs = randomised(Dinov2Model(Dinov2Config(**sizes))).eval()
    theirs.save_pretrained(tmp_path)
    model, images = load(tmp_path, mean=MEAN, std=STD, crop=False), pictures(32)
    with torch.no_grad():
        tokens = theirs(as_torch(images)).last_hidden_state
    close(model.encode(images, pooling="class"), tokens[:, 0])
    close(model.features_map(images).reshape(2, 16, 32), tokens[:, 1 + registers :])


def test_the_official_names(mae_folder, tmp_path):
    """Those of facebookresearch/mae, which timm's ViT shares; no config.json says the heads."""
    net = our_net(CASE)
    params = huggingface.load(net, mae_folder / "model.safetensors")
    mae_official.save(net, params, tmp_path / "mae.safetensors")
    given = {"heads": 2, "decoder_heads": 2, "mean": MEAN, "std": STD, "crop": False}
    model, images = load(tmp_path / "mae.safetensors", **given), pictures(32)
    first, second = (each.reconstruct(images) for each in (model, load(mae_folder, crop=False)))
    np.testing.assert_array_equal(first.hidden, second.hidden)
    assert np.abs(first.raw.astype(int) - second.raw).max() <= 1
    assert "normalised each by itself" in str(model)


def test_heads_that_the_file_denies_are_refused(mae_folder):
    with pytest.raises(InferenceError, match=r"heads is 4, but its config\.json says 2"):
        load(mae_folder, heads=4)


def test_the_network_of_a_file_without_its_weights(mae_folder):
    config = config_of_file(str(mae_folder))
    assert config.input.size == (32, 32) and config.input.mean == MEAN
    assert config.model.variant == "3x32x2x96" and config.model.decoder_depth > 0


def test_what_is_no_such_file(tmp_path):
    with_registers = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1, reg_tokens=4, init_values=1.0
    )
    arrays = {name: array.numpy() for name, array in with_registers.state_dict().items()}
    save_file(arrays, tmp_path / "registers.safetensors")
    with pytest.raises(WeightsError, match=r"of timm and has .*registers or LayerScale"):
        load(tmp_path / "registers.safetensors")
    save_file({"some.weight": np.zeros((2, 2), np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"is neither in .*DINOv2"):
        load(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"no run and no model.safetensors"):
        (tmp_path / "empty").mkdir()
        load(tmp_path / "empty")
