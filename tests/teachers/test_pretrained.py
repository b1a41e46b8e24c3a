"""Fixed teachers equal transformers' networks, and name the weights that do not fit."""

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
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
)

from maskmim.interop.layout import WeightsError
from maskmim.masks.core import from_scores
from maskmim.models.layers.posembed import resize_positions
from maskmim.models.layers.resized_positions import antialiased, with_offset
from maskmim.models.vit import ModelError
from maskmim.teachers import pretrained
from maskmim.teachers.frozen import features, relations, seen_features
from maskmim.types import Context
from tests.comparing import close
from tests.compiling import quick_jit
from tests.interop.transformers_simmim import randomised
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

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
DECODER = {
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 1,
    "decoder_intermediate_size": 8,
}
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
    """Return the peer with random weights, and the path of its file from save_pretrained."""
    peer = randomised(CASES[name][0]())
    peer.save_pretrained(folder)
    return peer, str(folder / "model.safetensors")


def pictures(grid):
    shape = (2, grid[0] * PATCH, grid[1] * PATCH, 3)
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def theirs(peer, images, **options):
    """Return the peer's outputs, with hidden states [1 + depth]."""
    pixels = ((images / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    body = getattr(peer, "vision_model", peer)
    if "Dinov2" not in type(peer).__name__:
        options["interpolate_pos_encoding"] = True
    with torch.no_grad():
        outputs = body(torch.from_numpy(pixels), output_hidden_states=True, **options)
    return outputs


def ours(network, images, grid, **keywords):
    teacher = features(network=network, class_token=True, **keywords)

    @quick_jit
    def look(frozen, batch):
        return teacher.find(None, (), frozen, Context(batch, {"image": grid}, {}), None)

    return look(teacher.freeze(), {"image": images})


def check(hints, expected, prefix):
    """Compare the class token and the patches' tokens with f32[B, prefix + N, D]."""
    expected = expected.numpy()
    for name, part in (("class_feature", expected[:, 0]), ("features", expected[:, prefix:])):
        assert hints[name].shape == part.shape
        worst = np.abs(hints[name] - part).max() / np.abs(part).max()
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


@pytest.mark.parametrize("name", ["vit", "clip"])
def test_layers_and_attention_equal_those_of_transformers(name, tmp_path):
    """In the order that was asked for, of the class token too, and those of a shorter network."""
    peer, path = peer_of(name, tmp_path)
    network = partial(CASES[name][1], path=path, **OURS)
    images = pictures(SAME)
    expected = theirs(peer, images, output_attentions=True)
    hints = ours(network, images, SAME, layers=(3, 1), attention=True)
    for place, layer in enumerate((3, 1)):
        found = {"class_feature": hints["class_layers"], "features": hints["layers"]}
        check({key: value[place] for key, value in found.items()}, expected.hidden_states[layer], 1)
    rows = expected.attentions[-1][:, :, 0, 1:].mean(1).numpy()
    close(hints["attention"], rows, name="attention")
    shorter = ours(partial(network, layer=2), images, SAME, layers=(2,), attention=True)
    close(shorter["layers"][0], expected.hidden_states[2][:, 1:].numpy())
    close(shorter["attention"], expected.attentions[1][:, :, 0, 1:].mean(1).numpy())
    with pytest.raises(ModelError, match="no layer 3: the blocks are 1 to 2"):
        ours(partial(network, layer=2), images, SAME, layers=(3,))


@pytest.mark.parametrize("name", ["vit", "clip"])
def test_queries_keys_and_values_equal_those_of_transformers(name, tmp_path):
    peer, path = peer_of(name, tmp_path)
    layers, rows = ("query", "key", "value", "q_proj", "k_proj", "v_proj"), {}
    for module, layer in peer.named_modules():
        if (kind := module.rpartition(".")[2]) in layers:
            keep = rows.setdefault(["queries", "keys", "values"][layers.index(kind) % 3], [])
            layer.register_forward_hook(lambda *given, keep=keep: keep.append(given[2]))
    images = pictures(SAME)
    theirs(peer, images)
    network = partial(CASES[name][1], path=path, **OURS)
    teacher = relations(network=network, blocks=2)

    @quick_jit
    def look(frozen, batch):
        return teacher.find(None, (), frozen, Context(batch, {"image": SAME}, {}), None)

    hints = look(teacher.freeze(), {"image": images})
    for kind, outputs in rows.items():
        assert len(outputs) == DEPTH
        expected = [each[:, 1:].reshape(2, SIDE**2, HEADS, -1).transpose(1, 2) for each in outputs]
        close(hints[f"teacher_{kind}"], torch.stack(expected[-2:]).numpy(), name=kind)


def test_a_teacher_that_sees_the_visible_tokens_equals_the_encoder_of_transformers(tmp_path):
    """ViTMAE's encoder of visible tokens, from the file of a model with its decoder."""
    config = ViTMAEConfig(layer_norm_eps=1e-6, mask_ratio=0.75, **DECODER, **WIDE)
    peer = randomised(ViTMAEForPreTraining(config))
    peer.save_pretrained(tmp_path)
    images, noise = pictures(SAME), np.random.default_rng(0).random((2, SIDE**2)).astype("f4")
    expected = theirs(peer.vit, images, noise=torch.from_numpy(noise)).hidden_states[2].numpy()
    mask = from_scores(-noise, ratio=0.76)  # 6 of 25 tokens are visible, as there
    order = np.argsort(np.argsort(noise, axis=1)[:, :6], axis=1)[..., None] + 1
    path = str(tmp_path / "model.safetensors")
    teacher = seen_features(
        network=partial(pretrained.vit, path=path, layer=2, **OURS), class_token=True
    )
    assert teacher.sees_mask and teacher.gives == ("seen_features", "seen_class_feature")

    @quick_jit
    def look(frozen, batch):
        return teacher.find(None, (), frozen, Context(batch, {"image": SAME}, {}), mask)

    hints = look(teacher.freeze(), {"image": images})
    close(hints["seen_class_feature"], expected[:, 0])
    close(hints["seen_features"], np.take_along_axis(expected, order, axis=1))


def test_clip_encodes_chosen_tokens_alone(tmp_path):
    """Equal to all tokens where all are chosen; of fewer, the others' pixels make no difference."""
    _, path = peer_of("clip", tmp_path)
    network = pretrained.clip(path=path, **OURS)
    inputs = np.random.default_rng(0).normal(size=(1, 20, 20, 3)).astype("f4")
    encode = quick_jit(lambda params, inputs, mask: network.encode(params, inputs, mask).tokens)
    whole = from_scores(np.zeros((1, 25)), ratio=0.04)
    few = whole._replace(visible=whole.visible[:, :4])
    every = np.arange(25)[None]
    params = network.load()
    close(encode(params, inputs, whole._replace(visible=every)), encode(params, inputs, None))
    changed = inputs.copy()
    changed[:, 4:] += 1  # the visible tokens are the first four, of the first row
    np.testing.assert_array_equal(encode(params, changed, few), encode(params, inputs, few))
    assert np.any(encode(params, changed, None)[:, :4] != encode(params, inputs, None)[:, :4])


def test_timm_names(tmp_path):
    peer, path = peer_of("vit", tmp_path)
    stored, timm = load_file(path), {}
    for name, array in stored.items():
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
            source, target = f"encoder.layer.{layer}", f"blocks.{layer}"
            roles = [stored[f"{source}.attention.attention.{r}.{kind}"] for r in _ROLES]
            renamed[f"{target}.attn.qkv.{kind}"] = np.concatenate(roles)
            for old, new in _TIMM.items():
                renamed[f"{target}.{new}.{kind}"] = stored[f"{source}.{old}.{kind}"]
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
    hints = ours(network, large, SAME)
    assert hints["features"].shape == (2, 25, WIDTH)
    downsized = jax.image.resize(large.astype(np.float32), images.shape, "cubic")
    expected = theirs(peer, np.clip(np.asarray(downsized), 0, 255)).last_hidden_state
    check(hints, expected, 1)


def test_positions_are_resized_as_the_authors_do():
    """Against torch's interpolate with scales, and with antialiasing."""
    table = np.random.default_rng(0).normal(size=(9 * 9, 8)).astype(np.float32)
    image = torch.from_numpy(table).reshape(1, 9, 9, 8).permute(0, 3, 1, 2)
    resize = partial(torch.nn.functional.interpolate, image, mode="bicubic")
    for new in ((6, 14),):
        scales = resize(scale_factor=[(side + 0.1) / 9 for side in new])
        smooth = resize(size=new, antialias=True)
        for ours, expected in ((with_offset, scales), (antialiased, smooth)):
            expected = expected.permute(0, 2, 3, 1).reshape(-1, 8).numpy()
            np.testing.assert_allclose(ours(table, (9, 9), new), expected, atol=5e-6)


def test_weights_that_do_not_fit_are_named_in_few_lines(tmp_path):
    _, path = peer_of("dinov2", tmp_path)
    settings = {"path": path, **OURS}
    with pytest.raises(WeightsError, match=r"no weights at '/nowhere/x"):
        pretrained.dinov2(**{**settings, "path": "/nowhere/x.safetensors"}).load()
    with pytest.raises(ModelError, match="no layer 4: the blocks are 1 to 3"):
        pretrained.dinov2(**settings, layer=4)

    with pytest.raises(WeightsError) as raised:
        pretrained.vit(**settings).load()
    message = str(raised.value)
    print(message)
    assert "missing: vit.encoder.layer.*.layernorm_before.weight (16,) x 3" in message
    assert "unexpected: vit.encoder.layer.*.layer_scale1.lambda1 (16,) x 3" in message
    assert len(message.splitlines()) < 16

    with pytest.raises(WeightsError) as raised:
        pretrained.dinov2(**{**settings, "variant": "2x16x2x32"}).load()
    message = str(raised.value)
    assert "of another shape: encoder.layer.*.mlp.fc1.weight (64, 16), the network has" in message
    assert "kinds more" in message
    assert len(message.splitlines()) < 16

    arrays = load_file(path)
    arrays["encoder.layer.1.layer_scale1.lambda"] = arrays.pop(
        "encoder.layer.1.layer_scale1.lambda1"
    )
    save_file(arrays, path)
    nearest = r"layer_scale1.lambda1 \(16,\); nearest in the file: .*layer_scale1.lambda$"
    with pytest.raises(WeightsError, match=f"(?m){nearest}"):
        pretrained.dinov2(**settings).load()


def test_a_file_is_read_once(tmp_path, monkeypatch):
    _, path = peer_of("vit", tmp_path)
    teacher = features(network=partial(pretrained.vit, path=path, **OURS))
    shapes = jax.eval_shape(teacher.freeze)
    (tmp_path / "model.safetensors").unlink()
    again = teacher.freeze()
    assert jax.tree.map(np.shape, again) == jax.tree.map(lambda leaf: leaf.shape, shapes)
