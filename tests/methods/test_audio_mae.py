"""Audio-MAE: equal to the official model, what the loss is taken on, and that it learns."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.interop.layout import arrays_of, check_covered, params_of
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores
from maskmim.masks.uniform import random
from maskmim.methods.masked import masked
from maskmim.models.audio_mae import vit_audio_mae
from maskmim.models.vit import ModelError
from maskmim.objectives.matching import match
from maskmim.planning.cost import train_flops_per_example
from maskmim.targets.pixels import normalised_patches, patches
from maskmim.training.build import assemble
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mean, Randomness, Spec, Variables, View
from tests.golden.audio_mae import case
from tests.running import ROOT
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

SPEC = Spec(case.SIZE, 1, (0.0,), (1.0,), "audio", "float32")


def case_net():
    depth, width, heads = case.ENCODER
    return vit_audio_mae(
        SPEC,
        variant=f"{depth}x{width}x{heads}",
        patch=(case.PATCH, case.PATCH),
        decoder_depth=case.DECODER[0],
        decoder_width=case.DECODER[1],
        decoder_heads=case.DECODER[2],
        window=case.WINDOW,
        shift=case.SHIFT,
    )


def case_params(net):
    """The weights that the official model was given, and the shapes of its arrays by name."""
    ours = jax.eval_shape(net.init, jax.random.key(0))
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape), ours)
    theirs = {name: array.shape for name, array in arrays_of(case.layout(), blank).items()}
    shapes = {path: leaf.shape for path, leaf in named_leaves(ours)}
    check_covered(case.layout(), shapes, "the official layout")
    weights = {name: case.weight(name, shape) for name, shape in theirs.items()}
    return params_of(case.layout(), shapes, weights)


def close(ours, theirs, what):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= PARITY * np.abs(theirs).max(), what


@cache
def official_case():
    """(params, function params -> ((loss, (both losses, predictions, predicted)), gradients))."""
    net = case_net()
    batch = {"audio": case.spectrograms()[..., None]}
    terms = {
        "plain": match(head="pixels", target=patches, loss=squared_error),
        "normalised": match(head="pixels", target=normalised_patches, loss=squared_error),
    }

    @partial(jax.value_and_grad, has_aux=True)
    def run(params):
        mask = from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, mask)
        outputs = net.predict(params, encoded, mask)
        view = View(net, Context(batch, net.grids, {}), inputs, mask, encoded, outputs, {})
        results = {name: term.find(view) for name, term in terms.items()}
        losses = {k: Mean(jnp.sum(x * w), jnp.sum(w)).value for k, (x, w, _, _) in results.items()}
        return losses["normalised"], (losses, outputs["pixels"], mask.predict)

    return case_params(net), jax.jit(run)


@pytest.mark.proves(12, "predictions, both losses and all gradients equal the official model's")
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    params, run = official_case()
    (_, (losses, predictions, predict)), gradients = run(params)
    np.testing.assert_array_equal(predict, golden["predict"])
    close(predictions, golden["predictions"], "predictions")
    for name, loss in losses.items():
        close(loss, golden[name], name)
    gradient_arrays = arrays_of(case.layout(), gradients)
    for (name, gradient), recorded in zip(
        gradient_arrays.items(), golden["gradients"], strict=True
    ):
        assert np.any(gradient), name
        scale = recorded[0] * np.linalg.norm(case.weight(name, gradient.shape))
        ours = case.told(name, gradient)
        assert abs(ours[0] - recorded[0]) <= PARITY * recorded[0], name
        assert abs(ours[1] - recorded[1]) <= PARITY * scale, name


def test_a_few_steps_reduce_the_loss():
    params, run = official_case()
    losses = []
    for _ in range(20):
        (loss, _), gradients = run(params)
        losses.append(float(loss))
        params = jax.tree.map(lambda p, g: p - 0.05 * np.asarray(g), params, gradients)
    assert losses[-1] < 0.75 * losses[0], losses


@pytest.mark.proves(12, "80 % of patches are hidden; they are all that is scored, none is seen")
def test_the_loss_is_taken_on_hidden_patches():
    net = case_net()
    pixels = partial(match, head="pixels", target=normalised_patches, loss=squared_error)
    method = masked(
        SPEC,
        model=lambda spec: net,
        mask=partial(random, ratio=case.RATIO),
        objectives={"pixels": pixels},
        teachers={},
    )
    variables = Variables(case_params(net), {}, {})
    reconstruct = jax.jit(method.apply["reconstruct"])

    def reconstruction(values):
        batch = {"audio": net.restore(values)}
        return reconstruct(variables, batch, Randomness.of(jax.random.key(1), case.EXAMPLES))

    values = np.array(net.patchify(jnp.asarray(case.spectrograms()[..., None])))
    first = reconstruction(values)
    hidden = np.asarray(first["mask"].hidden)
    assert hidden.sum(axis=1).tolist() == [77, 77]  # of 96
    assert first["mask"].predict.shape == (2, 77) and np.all(first["mask"].weight == 1)
    noise = np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
    unseen = reconstruction(np.where(hidden[..., None], noise, values))
    np.testing.assert_array_equal(unseen["prediction"], first["prediction"])
    unscored = reconstruction(np.where(hidden[..., None], values, noise))
    np.testing.assert_array_equal(unscored["target"], first["target"])
    assert not np.allclose(unscored["prediction"], first["prediction"])


@pytest.mark.proves(12, "local attention saves what attention over the whole grid would cost")
def test_arithmetic_of_the_published_size(monkeypatch):
    monkeypatch.chdir(ROOT)
    gflops = []
    for changes in ([], ["model.brick=maskmim.models.masked_vit.vit_mae"]):
        config = load("configs/audio_mae.py", changes)
        gflops.append(train_flops_per_example(config, assemble(config, 100_000)) / 1e9)
    # Two products of 16 blocks, forward and twice backward; 16 keys for each of 512, not 512.
    saved = 3 * 16 * 2 * 2 * 512 * (512 - 16) * 512 / 1e9
    assert gflops[1] - gflops[0] == pytest.approx(saved, rel=0.1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoder_depth": 3}, "decoder_depth is 3"),
        ({"window": 5}, "windows of 5"),
        ({"shift": 4}, "shifted by 4"),
    ],
)
def test_what_does_not_fit_is_named(changes, words):
    with pytest.raises(ModelError, match=words):
        vit_audio_mae(SPEC, variant="nano", patch=(2, 2), **changes)


def test_the_published_recipe(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load("configs/audio_mae.py")
    assert (config.train.batch_size, config.optim.lr, config.optim.lr_per) == (512, 2e-4, 256)
    assert (config.optim.b1, config.optim.b2, config.optim.weight_decay) == (0.9, 0.95, 1e-4)
    assert (config.train.epochs, config.schedule.warmup_epochs) == (33, 3)
    assert (config.model.decoder_depth, config.model.window, config.model.shift) == (16, 4, 2)
    assert config.input.size == (1024, 128) and config.mask.ratio == 0.8
