"""Fixed teachers compute what transformers' networks compute, and say which weights do not fit."""

from functools import partial

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    ViTConfig,
    ViTModel,
)

from maskmim.interop.layout import WeightsError
from maskmim.models.layers.posembed import resize_positions
from maskmim.models.layers.resized_positions import antialiased, with_offset
from maskmim.models.vit import ModelError
from maskmim.teachers import pretrained
from maskmim.teachers.frozen import features
from maskmim.types import Context
from tests.compiling import quick_jit
from tests.interop.transformers_simmim import randomised
from tests.tolerances import PARITY

DEPTH, WIDTH, HEADS, PATCH, SIDE = 3, 16, 2, 4, 5
SIZE = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "image_size": SIDE * PATCH,
    "patch_size": PATCH,
    "attn_implementation": "eager",
}
WIDE = {**SIZE, "intermediate_size": 4 * WIDTH}
SAME, OTHER = (SIDE, SIDE), (4, 7)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
OURS = {"variant": f"{DEPTH}x{WIDTH}x{HEADS}", "patch": (PATCH, PATCH), "mean": MEAN, "std": STD}

CASES = {
    "vit": (lambda: ViTModel(ViTConfig(layer_norm_eps=1e-6, **WIDE)), pretrained.vit),
    "dinov2": (
        lambda: Dinov2Model(Dinov2Config(**SIZE)),
        partial(pretrained.dinov2, resize=resize_positions),
    ),
    "dinov2 with registers": (
        lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SIZE)),
        pretrained.dinov2_with_registers,
    ),
    "clip": (
        lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(projection_dim=8, **WIDE)),
        pretrained.clip,
    ),
}


def peer_of(name, folder):
    """The peer with every weight random, and its file, read as from_pretrained's are."""
    peer = randomised(CASES[name][0]())
    peer.save_pretrained(folder)
    return peer, str(folder / "model.safetensors")


def pictures(grid):
    shape = (2, grid[0] * PATCH, grid[1] * PATCH, 3)
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def theirs(peer, images):
    """Hidden states [1 + depth] and outputs of the peer."""
    pixels = ((images / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    body = getattr(peer, "vision_model", peer)
    resized = {} if "Dinov2" in type(peer).__name__ else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        found = body(torch.from_numpy(pixels), output_hidden_states=True, **resized)
    return found


def ours(network, images, grid, **keywords):
    teacher = features(network=network, class_token=True, **keywords)

    @quick_jit
    def look(frozen, batch):
        return teacher.find(None, (), frozen, Context(batch, {"image": grid}, {}), None)

    return look(teacher.freeze(), {"image": images})


def check(found, wanted, prefix):
    """The class token and the patches' tokens of f32[B, prefix + N, D]."""
    wanted = wanted.numpy()
    for name, part in (("class_feature", wanted[:, 0]), ("features", wanted[:, prefix:])):
        assert found[name].shape == part.shape
        worst = np.abs(found[name] - part).max() / np.abs(part).max()
        assert worst < PARITY, (name, worst)


@pytest.mark.parametrize("grid", [SAME, OTHER])
@pytest.mark.parametrize("name", CASES)
def test_features_equal_those_of_transformers(name, grid, tmp_path):
    peer, path = peer_of(name, tmp_path)
    network = partial(CASES[name][1], path=path, **OURS)
    images = pictures(grid)
    expected = theirs(peer, images)
    prefix = 5 if "registers" in name else 1
    check(ours(partial(network, layer=2), images, grid), expected.hidden_states[2], prefix)
    last = expected.last_hidden_state
    if name == "clip":
        check(ours(partial(network, layer=DEPTH), images, grid), last, prefix)
        with torch.no_grad():
            last = peer.visual_projection(peer.vision_model.post_layernorm(last))
        network = partial(network, projected=True)
    check(ours(network, images, grid), last, prefix)


def test_timm_names(tmp_path):
    peer, path = peer_of("vit", tmp_path)
    given, timm = load_file(path), {}
    for name, array in given.items():
        if not name.startswith(("encoder", "pooler")):
            timm[name] = array
    renamed = {
        "cls_token": timm.pop("embeddings.cls_token"),
        "pos_embed": timm.pop("embeddings.position_embeddings"),
        "head.weight": np.zeros((10, WIDTH), np.float32),
    }
    for kind in ("weight", "bias"):
        projection = f"embeddings.patch_embeddings.projection.{kind}"
        renamed[f"patch_embed.proj.{kind}"] = timm.pop(projection)
        renamed[f"norm.{kind}"] = timm.pop(f"layernorm.{kind}")
        for layer in range(DEPTH):
            there, here = f"encoder.layer.{layer}", f"blocks.{layer}"
            roles = [given[f"{there}.attention.attention.{r}.{kind}"] for r in _ROLES]
            renamed[f"{here}.attn.qkv.{kind}"] = np.concatenate(roles)
            for old, new in _TIMM.items():
                renamed[f"{here}.{new}.{kind}"] = given[f"{there}.{old}.{kind}"]
    assert not timm
    save_file(renamed, tmp_path / "timm.safetensors")
    network = partial(pretrained.vit, path=str(tmp_path / "timm.safetensors"), **OURS)
    images = pictures(OTHER)
    check(ours(network, images, OTHER), theirs(peer, images).last_hidden_state, 1)


_ROLES = "query", "key", "value"
_TIMM = {
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
}


def test_pictures_are_resized_to_the_tokens_of_the_student(tmp_path):
    """A student with patches of 8 asks a teacher with patches of 4: half the size, same tokens."""
    peer, path = peer_of("vit", tmp_path)
    network = partial(pretrained.vit, path=path, **OURS)
    images = pictures(SAME)
    large = images.repeat(2, axis=1).repeat(2, axis=2)
    found = ours(network, large, SAME)
    assert found["features"].shape == (2, 25, WIDTH)
    downsized = jax.image.resize(large.astype(np.float32), images.shape, "cubic")
    expected = theirs(peer, np.clip(np.asarray(downsized), 0, 255)).last_hidden_state
    check(found, expected, 1)


def test_positions_are_resized_as_the_authors_do():
    """Against torch's interpolate with scales, and with antialiasing."""
    table = np.random.default_rng(0).normal(size=(9 * 9, 8)).astype(np.float32)
    image = torch.from_numpy(table).reshape(1, 9, 9, 8).permute(0, 3, 1, 2)
    resize = partial(torch.nn.functional.interpolate, image, mode="bicubic")
    for new in ((6, 14),):
        scales = resize(scale_factor=[(side + 0.1) / 9 for side in new])
        smooth = resize(size=new, antialias=True)
        for ours, wanted in ((with_offset, scales), (antialiased, smooth)):
            wanted = wanted.permute(0, 2, 3, 1).reshape(-1, 8).numpy()
            np.testing.assert_allclose(ours(table, (9, 9), new), wanted, atol=5e-6)


def test_weights_that_do_not_fit_are_told_in_few_lines(tmp_path):
    _, path = peer_of("dinov2", tmp_path)
    given = {"path": path, **OURS}
    with pytest.raises(WeightsError, match=r"no weights at '/nowhere/x"):
        pretrained.dinov2(**{**given, "path": "/nowhere/x.safetensors"}).load()
    with pytest.raises(ModelError, match="no layer 4: the blocks are 1 to 3"):
        pretrained.dinov2(**given, layer=4)

    with pytest.raises(WeightsError) as raised:
        pretrained.vit(**given).load()
    told = str(raised.value)
    print(told)
    assert "missing: vit.encoder.layer.*.layernorm_before.weight (16,) x 3" in told
    assert "unexpected: vit.encoder.layer.*.layer_scale1.lambda1 (16,) x 3" in told
    assert len(told.splitlines()) < 16

    with pytest.raises(WeightsError) as raised:
        pretrained.dinov2(**{**given, "variant": "2x16x2x32"}).load()
    told = str(raised.value)
    assert "of another shape: encoder.layer.*.mlp.fc1.weight (64, 16), the network has" in told
    assert "kinds more" in told
    assert len(told.splitlines()) < 16

    arrays = load_file(path)
    arrays["encoder.layer.1.layer_scale1.lambda"] = arrays.pop(
        "encoder.layer.1.layer_scale1.lambda1"
    )
    save_file(arrays, path)
    nearest = r"layer_scale1.lambda1 \(16,\); nearest in the file: .*layer_scale1.lambda$"
    with pytest.raises(WeightsError, match=f"(?m){nearest}"):
        pretrained.dinov2(**given).load()


def test_a_file_is_read_once(tmp_path, monkeypatch):
    _, path = peer_of("vit", tmp_path)
    teacher = features(network=partial(pretrained.vit, path=path, **OURS))
    shapes = jax.eval_shape(teacher.freeze)
    (tmp_path / "model.safetensors").unlink()
    again = teacher.freeze()
    assert jax.tree.map(np.shape, again) == jax.tree.map(lambda leaf: leaf.shape, shapes)
