"""MaskFeat on video: whole cubes are hidden, HOG of their first frames is predicted."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.losses.regression import squared_error
from maskmim.masks import blocks, coarse_cubes
from maskmim.masks.core import MaskError
from maskmim.masks.roles import in_place
from maskmim.methods.masked import masked
from maskmim.models.mvit import mvit_in_place
from maskmim.objectives.matching import match
from maskmim.targets.hog import TargetError, cells_to_patches, hog
from maskmim.targets.hog_clips import hog_cubes
from maskmim.targets.hog_pictures import draw_strokes
from maskmim.training.build import build_method
from maskmim.training.train_step import make_train_step
from maskmim.tree_paths import leaf_path
from maskmim.types import Context, Mask, Randomness, Spec, State, View
from tests.running import ROOT

SPEC = Spec((2, 32, 32), 3, (0.45,) * 3, (0.225,) * 3, "video")
GRID = (2, 8, 8)
CUBES = partial(coarse_cubes.cubes, ratio=0.4)


def view(clips, grid=GRID):
    """A view of clips of whose tokens all are predicted."""
    tokens = jnp.broadcast_to(
        jnp.arange(np.prod(grid), dtype=jnp.int32), (len(clips), np.prod(grid))
    )
    mask = Mask(tokens, tokens, jnp.zeros(tokens.shape, bool), jnp.ones(tokens.shape))
    return View(None, Context({}, {"video": grid}, {}), clips, mask, None, {}, ())


@pytest.mark.proves(31, "the target is the HOG of one frame of each cube of a clip")
def test_targets_are_those_of_the_first_frames():
    rng = np.random.default_rng(0)
    clips = rng.normal(size=(2, 4, 64, 64, 3)).astype(np.float32)
    target = hog_cubes(view(clips))
    assert target.shape == (2, 128, 27)
    for frame in (0, 2):
        expected = cells_to_patches(hog(jnp.asarray(clips[:, frame])), (8, 8))
        np.testing.assert_allclose(target[:, 32 * frame : 32 * frame + 64], expected, atol=1e-6)
    others = clips.copy()
    others[:, 1::2] = rng.normal(size=others[:, 1::2].shape)
    np.testing.assert_array_equal(hog_cubes(view(others)), target)
    assert hog_cubes(view(clips, (2, 4, 4))).shape == (2, 32, 108)
    with pytest.raises(TargetError, match="not clips"):
        hog_cubes(view(clips[:, 0], (8, 8)))
    with pytest.raises(TargetError, match="cells of 8x8"):
        hog_cubes(view(clips, (2, 16, 16)))


def test_pictures_of_the_histograms_stand_where_the_cells_are():
    """One vertical edge in one cube, of two cells by two, of the second frame."""
    values = np.zeros((1, 2, 2, 3, 3, 9, 2, 2), np.float32)
    values[0, 1, 0, 2, :, 4, 1, 0] = 1.0
    shape = (1, 2, 32, 48, 3)
    values = jnp.asarray(values.reshape(1, 12, 108))
    picture = draw_strokes(values, shape, (2, 2, 3), bins=9, cell=8)
    assert picture.shape == shape and picture.dtype == np.uint8
    lit = np.argwhere(np.asarray(picture)[..., 0] > 100)
    assert set(lit[:, 1]) == {1}
    assert set(lit[:, 2]) == set(range(8, 16)) and set(lit[:, 3]) <= set(range(34, 39))


@pytest.mark.proves(31, "cubes are drawn on a grid half as fine as the output's, and hidden whole")
def test_cubes_of_units():
    randomness = Randomness.of(jax.random.key(0), 8)
    context = Context({}, {"video": (8, 14, 14)}, {})
    mask = CUBES(randomness, context)
    assert mask.predict.shape == (8, 628) and mask.visible.shape == (8, 940)
    units = np.asarray(mask.hidden).reshape(8, 8, 7, 2, 7, 2)
    assert (units == units[:, :, :, :1, :, :1]).all()
    coarse = blocks.cubes(randomness, Context({}, {"video": (8, 7, 7)}, {}), ratio=0.4)
    np.testing.assert_array_equal(units[:, :, :, 0, :, 0].reshape(8, -1), coarse.hidden)
    with pytest.raises(MaskError, match="do not fill"):
        CUBES(randomness, Context({}, {"video": (8, 7, 14)}, {}))


def stripes(rng, examples):
    """Moving stripes, a direction and a phase for each clip: u8[B, 2, 32, 32, 3]."""
    down, right = np.mgrid[:32, :32] / 4.0
    turn = rng.uniform(0, np.pi, (examples, 1, 1, 1))
    phase = rng.uniform(0, 2 * np.pi, turn.shape) + np.arange(2)[:, None, None]
    waves = 128 + 100 * np.sin(right * np.sin(turn) + down * np.cos(turn) + phase)
    return np.repeat(waves[..., None], 3, axis=-1).astype(np.uint8)


@pytest.mark.proves(31, "hidden cubes are predicted from visible ones, better than by a constant")
@pytest.mark.slow
def test_visible_cubes_tell_of_hidden_ones():
    """On stripes that are new at each step: the best constant has the variance as its loss."""
    method = masked(
        SPEC,
        model=partial(mvit_in_place, variant="nano", heads={"hog": 27}),
        mask=partial(in_place, sampler=CUBES),
        objectives={"hog": partial(match, head="hog", target=hog_cubes, loss=squared_error)},
        teachers={},
    )
    rng = np.random.default_rng(0)
    normalised = (stripes(rng, 256)[:, 0] / 255.0 - SPEC.mean) / SPEC.std
    values = np.asarray(cells_to_patches(hog(jnp.asarray(normalised, jnp.float32)), (4, 4)))
    constant = values.reshape(-1, 27).var(axis=0).mean()
    shapes, extra = jax.eval_shape(method.init, jax.random.key(0))
    params = jax.tree.map_with_path(
        lambda path, leaf: rng.normal(
            leaf_path(path).endswith("norm/scale"), 0.1, leaf.shape
        ).astype(np.float32),
        shapes,
    )
    optimiser = optax.adam(5e-3)
    state = State(jnp.int32(0), params, extra, optimiser.init(params), jnp.int32(0))
    step = jax.jit(make_train_step(method, optimiser, seed=0, total_steps=300))
    losses = []
    for _ in range(300):
        state, metrics = step(state, (), {"video": stripes(rng, 8)})
        losses.append(float(metrics["loss"]))
    print(f"a constant {constant:.4f}, the last 50 steps {np.mean(losses[-50:]):.4f}")
    assert np.mean(losses[-50:]) < 0.9 * constant


@pytest.mark.proves(31, "video: 628 of 1568 tokens are hidden and 108 values predicted of each")
def test_the_published_recipe(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load("configs/maskfeat_video.py")
    optim, schedule = config.optim, config.schedule
    assert (config.train.batch_size, optim.lr, optim.lr_per) == (512, 1e-4, 32)
    assert (optim.b1, optim.b2, optim.weight_decay, optim.clip_norm) == (0.9, 0.999, 0.05, 0.02)
    assert (config.train.epochs, schedule.warmup_epochs, schedule.final) == (300, 10, 0.01)
    assert (config.data.decode.frames, config.data.decode.stride) == (16, 4)
    assert load("configs/maskfeat_video.py:variant=L").train.epochs == 800
    _, method = build_method(config)
    assert method.net.grids == {"video": (8, 14, 14)}

    def look(key):
        params, _ = method.init(key)
        batch = {"video": jnp.zeros((2, 16, 224, 224, 3), jnp.uint8)}
        mask = bind(config.mask)(Randomness.of(key, 2), Context(batch, method.net.grids, {}))
        encoded = method.net.encode(params, method.net.inputs(batch), mask)
        return encoded.tokens, method.net.predict(params, encoded, mask)["hog"]

    tokens, values = jax.eval_shape(look, jax.random.key(0))
    assert tokens.shape == (2, 1568, 768) and values.shape == (2, 628, 108)
