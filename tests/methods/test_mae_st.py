"""MAE-ST against the official model, its one frame of each cube, and its long clips."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.config.load import load
from maskmim.interop.layout import arrays_of
from maskmim.losses import squared_error
from maskmim.masks.core import from_scores
from maskmim.methods.masked import masked
from maskmim.models.mae_st import vit_mae_st
from maskmim.objectives import match
from maskmim.optim.compose import peak_learning_rate
from maskmim.planning.cost import batch_shapes
from maskmim.targets.cube_frames import chosen_frames, normalised_frames, repeat_frames
from maskmim.training.build import build_method
from maskmim.types import Mask, Randomness, Spec, Variables
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.mae_st import case
from tests.golden.official_weights import params_by_name

pytestmark = pytest.mark.full

SPEC = Spec(case.SIZE, 3, (0.0,) * 3, (1.0,) * 3, "video", dtype="float32")
RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)


def official_mask(randomness, context) -> Mask:
    """The official masks: the smallest noise is visible."""
    return from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)


@cache
def method():
    """MAE-ST at the case's size, composed as the config does."""
    sizes = ["x".join(map(str, size)) for size in (case.ENCODER, case.DECODER)]
    target = partial(match, head="pixels", target=normalised_frames, loss=squared_error)
    return masked(
        SPEC,
        model=partial(vit_mae_st, variant=sizes[0], patch=case.PATCH, decoder=sizes[1]),
        mask=official_mask,
        objectives={"pixels": target},
        teachers={},
    )


@cache
def official_params():
    """Return the official weights as our params, and {official name: shape}."""
    shapes = jax.eval_shape(method().net.init, jax.random.key(0))
    return params_by_name(case.layout(), shapes, case.weight)


@cache
def program():
    """Return a function: (params, clips) -> (loss, what `reconstruct` gives), gradients."""

    def run(params, clips):
        variables, batch = Variables(params, {}, {}), {"video": clips}
        losses = method().loss(variables, batch, RANDOMNESS, 0.0)
        return losses.terms["pixels"].value, method().apply["reconstruct"](
            variables, batch, RANDOMNESS
        )

    return quick_jit(jax.value_and_grad(run, has_aux=True))


@cache
def outcome():
    """Return what the program gives for the official weights and the case's clips."""
    return jax.tree.map(np.asarray, program()(official_params()[0], case.clips()))


@pytest.mark.proves(6, "predictions, loss and all gradients equal the official model's")
def test_equals_the_official_model():
    golden, theirs = np.load(case.GOLDEN), official_params()[1]
    (loss, made), gradients = outcome()
    rows = np.arange(case.EXAMPLES)[:, None]
    hidden = np.asarray(official_mask(None, None).predict)
    close(made["prediction"], golden["predictions"][rows, hidden], name="predictions")
    close(loss, golden["loss"], name="loss")
    ours = arrays_of(case.layout(), gradients)
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    parts = np.split(golden["gradients"], ends[:-1])
    for (name, shape), gradient in zip(theirs.items(), parts, strict=True):
        close(ours[name], gradient.reshape(shape), name=name)
        assert np.any(ours[name]), name


@pytest.mark.proves(6, "pixels of hidden cubes reach no prediction")
def test_hidden_pixels_reach_no_prediction():
    hidden = np.asarray(official_mask(None, None).hidden)
    values = np.repeat(hidden[..., None], 3 * np.prod(case.PATCH), axis=2)
    covered = np.asarray(method().net.restore(jnp.asarray(values)))
    changed = np.where(covered, case.clips() + 1, case.clips())
    (_, made), _ = outcome()
    (_, other), _ = program()(official_params()[0], changed)
    np.testing.assert_array_equal(other["prediction"], made["prediction"])
    (_, seen), _ = program()(official_params()[0], case.clips() + 1)
    assert np.abs(seen["prediction"] - made["prediction"]).max() > 1e-2


@pytest.mark.proves(6, "each cube's target is one frame: the first, of the last cube the second")
@pytest.mark.parametrize("frames", [4, 16, 64])
def test_frames_are_spread_as_torch_spreads_them(frames):
    steps = frames // 2
    expected = torch.linspace(0, frames - 1, steps).long().numpy()
    np.testing.assert_array_equal(chosen_frames(frames, steps), expected)
    inside = expected - 2 * np.arange(steps)
    np.testing.assert_array_equal(inside, [0] * (steps - 1) + [1])


def test_a_perfect_prediction_is_drawn_as_the_chosen_frame():
    """Every frame of a hidden cube shows the pixels of the one that stands for it."""
    (_, made), _ = outcome()
    patches = np.asarray(method().net.patchify(jnp.asarray(case.clips())))
    expected = np.take_along_axis(patches, made["mask"].predict[..., None], axis=1)
    expected = expected.reshape(*expected.shape[:2], 2, -1)
    step = made["mask"].predict // (case.GRID[1] * case.GRID[2])
    inside = chosen_frames(case.SIZE[0], case.GRID[0])[step] - 2 * step
    frame = np.take_along_axis(expected, inside[..., None, None], axis=2)
    view = View(case.clips(), made["mask"])
    drawn = np.asarray(repeat_frames(view, jnp.asarray(made["target"])))
    np.testing.assert_allclose(drawn.reshape(expected.shape), frame.repeat(2, 2), atol=1e-5)


class View:
    """What the target reads of a view."""

    def __init__(self, clips, mask):
        self.inputs, self.mask, self.context = jnp.asarray(clips), mask, self
        self.grid = case.GRID


def test_the_published_recipe():
    config = load("mae_st")
    optim, schedule = config.optim, config.schedule
    assert peak_learning_rate(optim.lr, optim.lr_per, config.train.batch_size) == pytest.approx(
        8e-4
    )
    assert (config.train.epochs, config.train.batch_size, config.data.repeats) == (100, 512, 4)
    assert (optim.b2, optim.weight_decay, optim.clip_norm) == (0.95, 0.05, 0.02)
    assert (schedule.warmup_epochs, schedule.final, config.mask.ratio) == (5, 0, 0.9)
    assert config.data.augment.scale == (0.5, 1.0) and config.data.augment.flip == 0.5
    _, built = build_method(config)
    assert built.net.grids == {"video": (8, 14, 14)} and built.net.width == 1024
    huge = build_method(load("mae_st:variant=H/14"))[1].net
    assert huge.grids == {"video": (8, 16, 16)} and huge.width == 1280


@pytest.mark.proves(6, "clips of 64 frames are 6,272 tokens, each with one frame to predict")
def test_long_clips_are_more_tokens():
    config = load("mae_st:frames=64")
    config.model.variant, config.model.decoder = "1x16x2", "1x16x2"
    config.train.batch_size = 2
    _, built = build_method(config)
    params = jax.eval_shape(built.net.init, jax.random.key(0))
    batch = batch_shapes(config, 2)

    def reconstruct(params, batch):
        variables, randomness = Variables(params, {}, {}), Randomness.of(jax.random.key(0), 2)
        return built.apply["reconstruct"](variables, batch, randomness)

    made = jax.eval_shape(reconstruct, params, batch)
    assert params["encoder"]["time_positions"].shape == (32, 16)
    assert made["mask"].visible.shape == (2, 627)
    assert made["prediction"].shape == (2, 5645, 16 * 16 * 3)
