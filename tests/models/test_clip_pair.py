"""The pair of configs/pair.py against transformers' CLIPModel: towers, loss, every gradient."""

from __future__ import annotations

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import CLIPConfig, CLIPModel

from maskmim.checkpoints.workdir import save_config
from maskmim.checkpoints.writer import Checkpoints
from maskmim.config import ConfigError
from maskmim.config.bricks import bind
from maskmim.config.load import load, override
from maskmim.config.serialize import to_json
from maskmim.interop import clip_files
from maskmim.interop.difference import WeightsError
from maskmim.interop.initial_weights import begin
from maskmim.interop.layout import arrays_of
from maskmim.interop.vision_layouts import CLIP
from maskmim.models.layers.errors import ModelError
from maskmim.planning.cost import batch_shapes
from maskmim.teachers.pretrained import run
from maskmim.training.build import assemble, jitted_step
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Randomness, Variables
from tests.comparing import close
from tests.compiling import quick_jit
from tests.interop.transformers_simmim import randomised
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

DEPTH, WIDTH, VALUES, PATCH, SIDE = 2, 16, 8, 4, 3
WORDS, LENGTH, EXAMPLES = 12, 6, 5
SHAPE = {"hidden_size": WIDTH, "num_attention_heads": 2, "num_hidden_layers": DEPTH}
PICTURES = {**SHAPE, "intermediate_size": 4 * WIDTH, "image_size": SIDE * PATCH}
TEXTS = {**SHAPE, "hidden_size": 24, "intermediate_size": 96, "vocab_size": WORDS}
FLAGS = (
    f"input.size={SIDE * PATCH},{SIDE * PATCH}",
    "input.mean=0.4,0.5,0.6",
    "input.std=0.2,0.3,0.25",
    f"model.variant={DEPTH}x{WIDTH}x2",
    f"model.patch={PATCH},{PATCH}",
    f"calls.picture.values={VALUES}",
    f"calls.text.values={VALUES}",
    f"calls.text.variant={DEPTH}x24x2",
    f"calls.text.vocabulary={WORDS}",
    f"calls.text.length={LENGTH}",
    f"input.fields.caption.shape={LENGTH}",
)


def captions():
    """Texts whose ends stand at different places, one with another index behind it."""
    rng = np.random.default_rng(1)
    ids = rng.integers(1, WORDS - 2, (EXAMPLES, LENGTH)).astype(np.int32)
    ids[:, 0] = WORDS - 2
    for row, end in enumerate((5, 2, 3, 4, 1)):
        ids[row, end:] = 0
        ids[row, end] = WORDS - 1
    ids[2, 4:] = (3, WORDS - 1)
    return ids


def batch():
    images = np.random.default_rng(0).integers(0, 256, (EXAMPLES, SIDE * PATCH, SIDE * PATCH, 3))
    return {"image": images.astype(np.uint8), "caption": captions()}


def config_of(path, *flags):
    return override(load("pair:tiny"), [*FLAGS, f"begin.file={path}", *flags])


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """A CLIPModel with random weights, and its folder."""
    folder = tmp_path_factory.mktemp("clip")
    vision = {**PICTURES, "patch_size": PATCH}
    text = {**TEXTS, "max_position_embeddings": LENGTH, "eos_token_id": WORDS - 1}
    options = {"vision_config": vision, "text_config": text, "projection_dim": VALUES}
    model = randomised(CLIPModel(CLIPConfig(**options, attn_implementation="eager")))
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def outcome(peer):
    """The file's weights in our network, and its loss, outputs and gradients."""
    config = config_of(peer[1])
    parts = assemble(config, 64)
    beginning = begin(config, parts)
    params, method = beginning.state.params, parts.method

    def loss(params, batch):
        randomness = Randomness.of(jax.random.key(0), EXAMPLES)
        losses = method.loss(Variables(params, {}, {}), batch, randomness, jnp.float32(0.0))
        return losses.terms["texts"].value, losses.metrics

    def outputs(params, batch):
        encoded = method.net.encode(params, method.net.inputs(batch), None)
        pictures = method.net.calls["picture"](params, encoded.prefix[:, 0])
        return pictures, method.net.calls["text"](params, batch["caption"])

    @quick_jit
    def compute(params, batch):
        return jax.value_and_grad(loss, has_aux=True)(params, batch), outputs(params, batch)

    ((value, metrics), gradients), found = compute(params, batch())
    return SimpleNamespace(**locals())


def theirs(peer):
    """The peer's outputs with the loss of the batch, and its gradients by name."""
    images, mean, std = batch()["image"] / 255.0, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    pixels = torch.from_numpy(((images - mean) / std).transpose(0, 3, 1, 2).astype(np.float32))
    ids = torch.from_numpy(captions().astype(np.int64))
    peer.zero_grad()
    outputs = peer(input_ids=ids, pixel_values=pixels, return_loss=True)
    outputs.loss.backward()
    return outputs, {n: p.grad.numpy() for n, p in peer.named_parameters() if p.grad is not None}


def test_the_loss_and_both_towers_equal_transformers_clip(peer, outcome):
    outputs, _ = theirs(peer[0])
    close(outcome.value, outputs.loss.item(), name="loss")
    wanted = outputs.image_embeds, outputs.text_embeds
    for name, ours, expected in zip(("pictures", "texts"), outcome.found, wanted, strict=True):
        ours = ours / np.linalg.norm(ours, axis=-1, keepdims=True)
        close(ours, expected.detach().numpy(), name=name)
    nearest = outputs.logits_per_image.argmax(1) == torch.arange(EXAMPLES)
    found = outcome.metrics["texts/picture_accuracy"].value
    assert float(found) == pytest.approx(nearest.float().mean().item())


def test_every_gradient_equals_transformers_clip(peer, outcome):
    _, expected = theirs(peer[0])
    shapes = {path: leaf.shape for path, leaf in named_leaves(outcome.params)}
    entries = [*CLIP.entries((PATCH, PATCH, 3), DEPTH), *clip_files._entries(shapes)]
    gradients = dict(named_leaves(outcome.gradients))
    assert set(gradients) == {entry.path for entry in entries} | {"encoder/positions"}
    ours = arrays_of(entries, outcome.gradients)
    table = "vision_model.embeddings.position_embedding.weight"
    first = ours["vision_model.embeddings.class_embedding"]
    ours[table] = np.concatenate([first[None], gradients["encoder/positions"]])
    assert set(ours) == set(expected)
    largest = max(np.abs(each).max() for each in expected.values())
    for name, gradient in expected.items():
        # Keys have biases that cancel: their gradients are rounding.
        scale = np.abs(gradient).max() if not name.endswith("k_proj.bias") else largest
        off = np.abs(ours[name].reshape(gradient.shape) - gradient).max()
        assert off <= PARITY * scale, (name, off, scale)


def test_all_of_a_file_is_taken_or_what_is_asked_for(peer, outcome):
    assert "drawn fresh         nothing" in outcome.beginning.sheet
    some = begin(config_of(peer[1], "begin.take=encoder,text/blocks"), outcome.parts)
    taken = dict(named_leaves(some.state.params))
    for path, array in named_leaves(outcome.params):
        same = np.array_equal(array, taken[path])
        assert same == path.startswith(("encoder/", "text/blocks/")), path


def test_files_that_do_not_fit_are_errors(peer, outcome, tmp_path):
    arrays = load_file(peer[1] / "model.safetensors")
    short = {n: a for n, a in arrays.items() if "text_model.encoder.layers.1" not in n}
    save_file(short, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"missing: text_model.encoder.layers.\*.layer_norm1"):
        begin(config_of(tmp_path), outcome.parts)
    more = {**arrays, "text_model.extra.weight": np.zeros(3, np.float32)}
    save_file(more, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"unexpected: text_model.extra.weight"):
        begin(config_of(tmp_path), outcome.parts)
    save_file(arrays, tmp_path / "model.safetensors")
    stored = json.loads((peer[1] / "config.json").read_text())
    stored["text_config"]["num_attention_heads"] = 4
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(WeightsError, match="says 4 heads in text_config, text of this network has"):
        begin(config_of(tmp_path), outcome.parts)
    other = override(load("mae:tiny"), [f"begin.file={peer[1]}"])
    with pytest.raises(WeightsError, match=r"clip_vision.clip_vit, as in configs/pair.py"):
        begin(other, assemble(other, 64))


def test_a_run_teaches_by_its_projected_tokens(outcome, tmp_path):
    """UTA's teacher: features of the run behind its projection, those of the network above."""
    save_config(tmp_path, outcome.config)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, outcome.beginning.state, {"step": 1}, to_json(outcome.config))
    checkpoints.close()
    grid = f"input.size={SIDE * PATCH},{SIDE * PATCH}", f"model.patch={PATCH},{PATCH}"
    config = override(
        load(f"uta:tiny,run={tmp_path},call=picture"), [*grid, "mask.sampler.ratio=0.5"]
    )
    assert config.calls["align"]["values"] == VALUES
    teacher = bind(config.teachers.whole)()

    @quick_jit
    def look(frozen, images):
        context = Context({"image": images}, {"image": (SIDE, SIDE)}, {})
        return teacher.find(None, (), frozen, context, None)

    hints = look(teacher.freeze(), batch()["image"])
    close(hints["class_feature"], outcome.found[0], name="class")
    assert hints["features"].shape == (EXAMPLES, SIDE**2, VALUES)
    parts = assemble(config, 64)
    shapes = batch_shapes(config, config.train.batch_size)
    jax.eval_shape(jitted_step(config, parts), parts.shapes, parts.frozen_shapes, shapes)
    with pytest.raises(ConfigError, match=r"call=text2: the run .* has the functions picture, "):
        load(f"uta:tiny,run={tmp_path},call=text2")
    with pytest.raises(ConfigError, match="name it by run=RUN"):
        load("uta:tiny,call=picture")
    with pytest.raises(ModelError, match="layer=None, or call=None"):
        run(workdir=str(tmp_path), layer=1, call="picture")
    maskalign = load(f"maskalign:tiny,run={tmp_path}")
    assert maskalign.teachers.whole.network.workdir == str(tmp_path)
