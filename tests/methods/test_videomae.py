"""VideoMAE and V2's dual masking: equal to the official step, blind to what is hidden, cheap."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config.facts import facts_of
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.data.pans import pans
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.interop.layout import arrays_of, params_of, shapes_of
from maskmim.losses.regression import squared_error
from maskmim.masks import running_cell, uniform, video
from maskmim.methods.masked import masked
from maskmim.models.videomae import vit_videomae
from maskmim.objectives.matching import match
from maskmim.targets.cubes import normalised_cubes
from maskmim.training.build import build_method
from maskmim.training.train_step import make_train_step
from maskmim.types import Mask, Randomness, Spec, State, Variables
from tests.compiling import quick_jit
from tests.golden.videomae_v2 import case
from tests.masks.video_clips import draw
from tests.running import ROOT
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

SPEC = Spec(case.SIZE, 3, IMAGENET_MEAN, IMAGENET_STD, stream="video")
SIZES = ["x".join(map(str, size)) for size in (case.ENCODER, case.DECODER)]
MODEL = partial(vit_videomae, variant=SIZES[0], patch=case.PATCH, decoder=SIZES[1])
NET = MODEL(SPEC)
RNG = np.random.default_rng


def method_of(sampler, model=MODEL):
    pixels = partial(match, head="pixels", target=normalised_cubes, loss=squared_error)
    return masked(SPEC, model=model, mask=sampler, objectives={"pixels": pixels}, teachers={})


@cache
def official():
    with np.load(case.GOLDEN) as stored:
        return dict(stored)


def bits(name):
    return np.unpackbits(official()[name], axis=-1).astype(bool)


def official_mask(cells):
    """The recorded masks, with the recorded running cells or without."""
    hidden = bits("hidden")
    visible = np.nonzero(~hidden)[1].reshape(len(hidden), -1)
    decoded = bits("decoded") if cells else hidden
    predict = np.nonzero(decoded)[1].reshape(len(hidden), -1)
    weight = np.take_along_axis(hidden, predict, axis=1).astype(np.float32)
    return Mask(*map(jnp.asarray, (visible, predict, hidden, weight)))


def official_params():
    shapes = shapes_of(NET)
    theirs = {entry.name: entry for entry in case.layout()}
    weights = {}
    for name, entry in theirs.items():
        shape = entry.theirs_of(np.zeros(shapes[entry.path], np.float32)[entry.index]).shape
        if name.endswith("attn.qkv.bias"):
            width = shape[0] // 3
            query, value = (
                case.weight(name.replace("qkv.bias", f"{part}_bias"), (width,)) for part in "qv"
            )
            weights[name] = np.concatenate([query, np.zeros(width, np.float32), value])
        elif name.endswith("patch_embed.proj.weight"):
            weights[name] = case.weight(name, (shape[0], 3, *case.PATCH)).reshape(shape)
        else:
            weights[name] = case.weight(name, shape)
    return params_of(case.layout(), shapes, weights)


def loss_of(params, mask):
    """The loss and the predictions on the case's clips."""
    method = method_of(lambda randomness, context: mask)
    batch = {"video": jnp.asarray(case.clips())}
    randomness = Randomness.of(jax.random.key(0), case.EXAMPLES)
    losses = method.loss(Variables(params, {}, {}), batch, randomness, 0.0)
    encoded = NET.encode(params, NET.inputs(batch), mask)
    return losses.terms["pixels"].value, NET.predict(params, encoded, mask)["pixels"]


@pytest.mark.proves(15, "predictions, loss and all gradients are those of the official step")
def test_dual_masking_equals_the_official_step():
    step = quick_jit(jax.value_and_grad(loss_of, has_aux=True))
    (value, predictions), grads = step(official_params(), official_mask(cells=True))
    expected = official()["predictions"]
    assert np.abs(predictions - expected).max() < PARITY * np.abs(expected).max()
    np.testing.assert_allclose(value, official()["loss"], rtol=PARITY)
    ours, start = arrays_of(case.layout(), grads), 0
    for entry in case.layout():
        gradient = ours[entry.name].reshape(-1)
        theirs = official()["gradients"][start : start + len(gradient)]
        start += len(gradient)
        assert np.abs(gradient - theirs).max() < PARITY * np.abs(theirs).max(), entry.name
    assert start == len(official()["gradients"])


@pytest.mark.proves(15, "without masking of the decoder it is VideoMAE's loss")
def test_without_cells_it_is_videomae():
    value, _ = quick_jit(loss_of)(official_params(), official_mask(cells=False))
    np.testing.assert_allclose(value, official()["loss_without_cells"], rtol=PARITY)


def cubes_of(hidden):
    """bool[B, N] tokens as the pixels that they are made of."""
    values = np.prod(case.PATCH) * 3
    return np.asarray(NET.restore(jnp.repeat(jnp.asarray(hidden)[..., None], values, axis=2)))


@pytest.mark.proves(21, "pixels of hidden cubes reach no feature and no prediction")
@pytest.mark.proves(15, "pixels of hidden cubes reach no feature and no prediction")
@pytest.mark.parametrize("sampler", [video.tube, running_cell.dual])
def test_hidden_pixels_are_unseen(sampler):
    mask = draw(sampler, case.GRID, count=2, ratio=0.75)

    @quick_jit
    def run(params, clips):
        encoded = NET.encode(params, NET.inputs({"video": clips}), mask)
        return encoded.tokens, NET.predict(params, encoded, mask)["pixels"]

    params, clips, hidden = official_params(), case.clips(), cubes_of(mask.hidden)
    noise = RNG(1).integers(0, 256, clips.shape, np.uint8)
    seen = run(params, clips)
    unseen = run(params, np.where(hidden, noise, clips))
    for changed, expected in zip(unseen, seen, strict=True):
        np.testing.assert_array_equal(changed, expected)
    other = run(params, np.where(hidden, clips, noise))
    assert np.abs(other[1] - seen[1]).max() > 1e-2


@pytest.mark.proves(15, "tokens that are neither visible nor decoded do not enter the decoder")
def test_a_decoded_token_depends_on_the_decoded_ones_alone():
    """Two decoded sets give one token two predictions; the number of mask tokens is theirs."""
    mask = draw(running_cell.dual, case.GRID, count=2, ratio=0.75)
    params, clips = official_params(), case.clips()

    @quick_jit
    def predict_tokens(predict):
        changed = mask._replace(predict=predict, weight=jnp.ones(predict.shape))
        encoded = NET.encode(params, NET.inputs({"video": clips}), changed)
        return NET.predict(params, encoded, changed)["pixels"]

    half = predict_tokens(mask.predict)
    fewer = predict_tokens(mask.predict[:, :8])
    assert half.shape == (2, 16, 96) and fewer.shape == (2, 8, 96)
    assert np.abs(half[:, :8] - fewer).max() > 1e-2
    order = np.arange(16)[::-1]
    np.testing.assert_allclose(predict_tokens(mask.predict[:, order])[:, order], half, atol=1e-4)


def flops(argument):
    """GFLOPs of a forward pass of the encoder and of the decoder for one clip, as XLA counts."""
    config = load(f"configs/videomae.py:{argument}", ["model.compute.unroll=true"])
    _, method = build_method(config)
    net, shaped = method.net, jax.ShapeDtypeStruct
    visible, predicted = counts_of(config, net)
    places = [shaped((1, count), jnp.int32) for count in (visible, predicted)]
    hidden = shaped((1, np.prod(net.grids["video"])), bool)
    mask = Mask(*places, hidden, shaped((1, predicted), jnp.float32))
    params = jax.eval_shape(net.init, jax.random.key(0))
    inputs = shaped((1, *config.input.size, 3), jnp.float32)
    encoded = jax.eval_shape(net.encode, params, inputs, mask)
    encode = jax.jit(net.encode).lower(params, inputs, mask)
    predict = jax.jit(net.predict).lower(params, encoded, mask)
    return [part.cost_analysis()["flops"] / 1e9 for part in (encode, predict)]


def counts_of(config, net):
    """Visible and predicted tokens of the config's sampler."""
    sampler = running_cell.dual if "dual" in config.mask.brick else video.tube
    return facts_of(sampler).counts(net.grids["video"], ratio=config.mask.ratio)


@pytest.mark.proves(15, "running cells halve the FLOPs of the decoder, at the published size")
def test_dual_masking_saves_decoder_flops(monkeypatch):
    monkeypatch.chdir(ROOT)
    (encoder, decoder), (same, less) = flops(""), flops("dual")
    print(f"\nforward GFLOPs: encoder {encoder:.1f}, decoder {decoder:.1f}, with cells {less:.1f}")
    assert same == encoder
    assert less < 0.52 * decoder


def copied(mask, clips):
    """Squared error on hidden cubes of a copy of the same place of the nearest visible time.

    Where no time shows the place, the mean of the visible cubes is taken.
    """
    patches = np.asarray(jax.vmap(NET.patchify)(clips[None] / 255.0)[0])
    patches = patches.reshape(len(clips), case.GRID[0], -1, patches.shape[-1])
    hidden = mask.hidden.reshape(len(clips), case.GRID[0], -1)
    errors = []
    for clip, gone in zip(patches, hidden, strict=True):
        for time, place in np.argwhere(gone):
            times = np.flatnonzero(~gone[:, place])
            guess = clip[~gone].mean(0)
            if len(times):
                guess = clip[times[np.abs(times - time).argmin()], place]
            errors.append(((clip[time, place] - guess) ** 2).mean())
    return np.mean(errors)


@pytest.mark.proves(21, "copying from another frame gains nothing under tubes, much under random")
def test_tubes_take_copying_away():
    source = pans(split="val", frames=24, side=case.SIZE[1])
    clips = np.stack([source[index].encoded[: case.SIZE[0]] for index in range(0, 280, 7)])
    masks = {s: draw(s, case.GRID, count=40, ratio=0.5) for s in (video.tube, uniform.random)}
    errors = {sampler: copied(mask, clips) for sampler, mask in masks.items()}
    assert errors[uniform.random] < 0.75 * errors[video.tube]


def test_steps_reduce_the_loss():
    """Every row of pixels in a clip is the same ramp, shifted: a few steps learn its shape."""
    method = method_of(partial(running_cell.dual, ratio=0.75), partial(MODEL, variant="1x8x2"))
    optimiser = optax.adam(1e-2)
    params = jax.tree.map(np.asarray, quick_jit(method.net.init)(jax.random.key(0)))
    state = State(jnp.int32(0), params, {}, optimiser.init(params), jnp.int32(0))
    step = quick_jit(make_train_step(method, optimiser, seed=0, total_steps=60))
    ramp = np.arange(case.SIZE[2])[None] * 12 + RNG(0).integers(0, 60, (4, 1))
    clips = np.broadcast_to(ramp[:, None, None, :, None], (4, *case.SIZE, 3)).astype(np.uint8)
    losses = []
    for _ in range(60):
        state, metrics = step(state, {}, {"video": clips})
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.3 * losses[0], losses


@pytest.mark.parametrize(
    ("argument", "batch", "rate", "epochs", "decoder", "tokens"),
    [
        ("", 2048, (1.5e-4, 256), 1600, "4x384x6", (1568, 160, 1408)),
        ("variant=H", 1024, (1.5e-4, 256), 1600, "12x640x8", (1568, 160, 1408)),
        ("dual", 4096, (1e-3, 1024), 800, "4x384x6", (1568, 160, 784)),
        ("dual,variant=g", 8192, (6e-4, 1024), 1200, "4x512x8x2234", (2048, 208, 1024)),
    ],
)
def test_the_published_recipes(argument, batch, rate, epochs, decoder, tokens, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load(f"configs/videomae.py:{argument}")
    optim = config.optim
    assert (config.train.batch_size, config.train.epochs) == (batch, epochs)
    assert (optim.lr, optim.lr_per, optim.b2, optim.weight_decay) == (*rate, 0.95, 0.05)
    assert config.schedule.final == pytest.approx(1e-5 / optim.lr)
    assert config.schedule.warmup_epochs == {1600: 40, 800: 80, 1200: 120}[epochs]
    assert config.model.decoder == decoder
    assert (config.data.decode.frames, config.data.decode.stride) == (16, 4)
    _, method = build_method(config)
    assert (np.prod(method.net.grids["video"]), *counts_of(config, method.net)) == tokens


def test_an_unknown_variant_is_an_error():
    for argument, known in (("variant=g", "S, B, L or H"), ("dual,variant=S", "B, L, H or g")):
        with pytest.raises(ConfigError, match=f"use {known}"):
            load(f"{ROOT}/configs/videomae.py:{argument}")
