"""MR-MAE: features at visible tokens, pixels at hidden ones, and what each loss reaches."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.checkpoints.workdir import save_config
from maskmim.config.load import load
from maskmim.models.convmae import convmae
from maskmim.models.frozen_vit import random_vit
from maskmim.teachers.frozen import features
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Randomness, Spec, random_key
from tests.comparing import close

full = pytest.mark.full
MODELS = ("convmae", "vit")
TERMS = ("pixels", "mimic")
DECODER = ("decoder_depth", "decoder_width", "decoder_heads")
EXAMPLES, RANDOMNESS = 2, Randomness.of(random_key(1), 2)


def pictures() -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).integers(0, 256, (EXAMPLES, 32, 32, 3), np.uint8)}


@cache
def parts(model: str):
    """Return the tiny method, its variables, and the jitted terms with gradients and insides."""
    config = load(f"mr_mae:tiny,model={model}")
    config.teachers.whole.network.layer = 1  # without the last norm, which standardises too
    _, method = build_method(config)
    variables = jax.jit(method.variables)(random_key(0))
    # Biases and gains that start at 0 and 1 would hide errors.
    shift = lambda leaf: leaf + 0.05 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape)  # noqa: E731
    variables = variables._replace(params=jax.tree.map(shift, variables.params))

    @jax.jit
    def run(params, frozen, batch):
        found = method.apply["mask"](variables._replace(params=params), batch, RANDOMNESS)["mask"]
        inputs = method.net.inputs(batch)
        encoded = method.net.encode(params, inputs, found)
        outputs = method.net.predict(params, encoded, found)
        if model == "vit":
            outputs["mimic"] = method.net.calls["mimic"](params, encoded.tokens)

        def terms(params, frozen):
            trained = variables._replace(params=params, frozen=frozen)
            losses = method.loss(trained, batch, RANDOMNESS, 0.0)
            return jnp.stack([losses.scales[name] * losses.terms[name].value for name in TERMS])

        values, pull = jax.vjp(terms, params, frozen)
        of_student, of_teacher = jax.vmap(pull)(jnp.eye(len(TERMS)))
        return found, method.net.patchify(inputs), outputs, values, of_student, of_teacher

    return config, method, variables, run


@cache
def outcome(model: str):
    _, _, variables, run = parts(model)
    return jax.tree.map(np.asarray, run(variables.params, variables.frozen, pictures()))


@cache
def teacher_hints() -> dict[str, np.ndarray]:
    """The teacher's last tokens, before they are standardised, and attention, as they are."""
    net = parts("vit")[1].net
    network = partial(random_vit, variant="nano", patch=(8, 8), layer=1)
    raw = features(network=network, attention=True)

    @jax.jit
    def find(frozen):
        return raw.find(net, (), frozen, Context(pictures(), net.grids, {}), None)

    return jax.tree.map(np.asarray, find(raw.freeze()))


@full
@pytest.mark.proves(
    25, "both losses equal those of numpy: features where visible, pixels elsewhere"
)
@pytest.mark.parametrize("model", MODELS)
def test_equals_the_formulas(model):
    mask, patches, outputs, values, _, _ = outcome(model)
    whole = teacher_hints()["features"].astype(np.float64)
    deviation = np.sqrt(whole.var(-1, keepdims=True) + 1e-6)
    whole = (whole - whole.mean(-1, keepdims=True)) / deviation
    rows = np.arange(EXAMPLES)[:, None]
    mimic = np.mean((outputs["mimic"] - whole[rows, mask.visible]) ** 2)
    wanted = patches.astype(np.float64)
    deviation = np.sqrt(wanted.var(-1, ddof=1, keepdims=True) + 1e-6)
    wanted = ((wanted - wanted.mean(-1, keepdims=True)) / deviation)[rows, mask.predict]
    close(values, [np.mean((outputs["pixels"] - wanted) ** 2), mimic], name="losses")


@full
@pytest.mark.proves(25, "visible and hidden tokens are disjoint, the most attended ones visible")
def test_the_most_attended_stay_visible():
    mask, attention = outcome("vit")[0], teacher_hints()["attention"]
    for visible, predict, one in zip(mask.visible, mask.predict, attention, strict=True):
        assert sorted([*visible, *predict]) == list(range(16)) and len(visible) == 4
        assert one[visible].min() > one[predict].max()


@full
@pytest.mark.proves(25, "features teach the encoder and no block of the decoder, pixels both")
@pytest.mark.parametrize("model", MODELS)
def test_each_loss_reaches_its_part(model):
    _, _, _, _, of_student, of_teacher = outcome(model)
    for path, leaf in named_leaves(of_student):
        of_pixels, of_mimic = (np.any(each) for each in leaf)
        fuses = path.startswith(("encoder/", "decoder/fuse"))
        own = path.startswith(("decoder/head_mimic", "mimic/"))
        assert (of_pixels, of_mimic) == (not own, own or fuses), path
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_teacher))


@full
@pytest.mark.proves(25, "a hidden pixel changes no feature that is predicted, bit for bit")
@pytest.mark.parametrize("model", MODELS)
def test_hidden_pixels_reach_no_feature(model):
    _, method, variables, _ = parts(model)
    mask, patches, outputs, *_ = outcome(model)
    changed = np.where(mask.hidden[..., None], 3 - 2 * patches, patches)

    @jax.jit
    def predict(inputs):
        encoded = method.net.encode(variables.params, inputs, mask)
        if model == "vit":
            return method.net.calls["mimic"](variables.params, encoded.tokens)
        return method.net.predict(variables.params, encoded, mask)["mimic"]

    first, second = (predict(method.net.restore(each)) for each in (patches, changed))
    np.testing.assert_array_equal(first, second)
    close(first, outputs["mimic"], name="as in training")


@full
def test_without_the_head_it_is_convmae():
    """Equal params give ConvMAE's predictions."""
    config, _, variables, _ = parts("convmae")
    mask, patches, outputs, *_ = outcome("convmae")
    size = {name: config.model[name] for name in ("variant", "patch", *DECODER)}
    host = convmae(Spec((32, 32), 3, config.input.mean, config.input.std), **size)
    params = dict(variables.params)
    params["decoder"] = {k: v for k, v in params["decoder"].items() if k != "head_mimic"}
    assert jax.tree.structure(params) == jax.tree.structure(
        jax.eval_shape(host.init, random_key(0))
    )
    inputs = host.restore(patches)
    predict = jax.jit(lambda inputs: host.predict(params, host.encode(params, inputs, mask), mask))
    np.testing.assert_allclose(predict(inputs)["pixels"], outputs["pixels"], atol=1e-5)


def test_the_published_recipe(tmp_path):
    config = load("mr_mae")
    assert (config.train.epochs, config.train.batch_size, config.mask.ratio) == (400, 3072, 0.75)
    assert (config.optim.lr, config.optim.b2, config.schedule.warmup_epochs) == (1.5e-4, 0.95, 40)
    assert (config.model.features, config.model.decoder_depth) == (768, 8)
    of_vit = load("mr_mae:model=vit,teacher=dino,variant=B/16")
    assert (of_vit.calls.mimic["values"], of_vit.model.decoder_width) == (768, 512)
    assert of_vit.teachers.whole.network.path == "dino-vitb16/model.safetensors"
    before = load("mae:tiny")
    before.model.variant = "4x48x2"
    save_config(tmp_path, before)
    taught = load(f"mr_mae:tiny,run={tmp_path}")
    assert taught.teachers.whole.network.workdir == str(tmp_path)
    assert taught.model.features == 48
