"""Every config builds, its step has the right shapes, and the step trains what it should.

The default tier traces the step of every tiny config (`jax.eval_shape`, nothing is compiled), where
jax promotes nothing by itself, and trains a dozen; the full tier trains them all.
"""

import contextlib
import math
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.config.python_file import config_files
from maskmim.planning.cost import batch_shapes
from maskmim.training.build import assemble, build_method, init_sharded, jitted_step
from maskmim.tree_paths import named_leaves
from tests.batches import random_batch

TINY = sorted(path.stem for path in config_files().values() if "tiny" in path.read_text())
# Other choices of a config that build another network or another method.
OTHERS = [
    "a2mim:model=resnet",
    "cae:target=pixels",
    "colormae:mask=bank",
    "mto:host=mae",
    "vqgan:adversarial=False",
    "simmim:model=swin",
    "videomae:dual",
    "mgmae:found",
]
# These train in the default tier: together they have every kind of method, network and stream.
DOZEN = {
    "audio_mae",
    "capi",
    "colormae",
    "convnext_v2",
    "hpm",
    "lut",
    "mae",
    "maskgit",
    "multimae",
    "simmim",
    "videomae",
    "vq_kd",
}
NEEDED = {"folder": "path=photos"}  # arguments without which a config does not load
PUBLISHED = ["mae", "mae:variant=H/14,epochs=1600", "colormae"]


def tiny(name: str):
    """The config `name:argument` with `tiny`, and what it assembles."""
    name, _, argument = name.partition(":")
    config = load(f"{name}:{','.join(filter(None, ['tiny', argument]))}")
    return config, assemble(config, 296)


@pytest.mark.parametrize("name", sorted(config_files()))
def test_the_published_config_loads(name):
    config = load(f"{name}:{NEEDED[name]}" if name in NEEDED else name)
    assert config.train.batch_size > 0 and config.train.epochs > 0
    assert "model" in config


@pytest.mark.parametrize("name", [*TINY, *OTHERS])
def test_the_tiny_step_has_the_right_shapes(name):
    config, parts = tiny(name)
    batch = batch_shapes(config, config.train.batch_size)
    step = jitted_step(config, parts)
    with promoting_nothing():
        state, metrics = jax.eval_shape(step, parts.shapes, parts.frozen_shapes, batch)
    assert jax.tree.all(jax.tree.map(like, state, parts.shapes))
    assert jax.tree.structure(state) == jax.tree.structure(parts.shapes)
    assert {"loss", "grad_norm", "bad_steps"} <= set(metrics)
    assert all(metric.shape == () for metric in metrics.values())


@contextlib.contextmanager
def promoting_nothing() -> Iterator[None]:
    """Let jax raise where it would promote a dtype or a rank."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def like(one: jax.ShapeDtypeStruct, other: jax.ShapeDtypeStruct) -> bool:
    """Whether two arrays have the same shape and dtype."""
    return (one.shape, one.dtype) == (other.shape, other.dtype)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in DOZEN else pytest.mark.full)
        for name in [*TINY, *OTHERS]
    ],
)
def test_three_tiny_steps(name):
    config, parts = tiny(name)
    state, frozen = init_sharded(parts, config.seed)
    before = jax.tree.map(np.asarray, (state.params, frozen))
    step = jitted_step(config, parts)
    rng = np.random.default_rng(0)
    for _ in range(3):
        batch = random_batch(config, rng, parts.mesh)
        state, metrics = step(state, frozen, batch)
        assert all(math.isfinite(float(value)) for value in metrics.values()), metrics
    assert step._cache_size() == 1
    assert int(state.step) == 3 and int(state.bad_steps) == 0
    for (path, old), new in zip(
        named_leaves(before[0]), jax.tree.leaves(state.params), strict=True
    ):
        assert old.shape == new.shape and not np.array_equal(old, new), path
    for (path, old), new in zip(named_leaves(before[1]), jax.tree.leaves(frozen), strict=True):
        np.testing.assert_array_equal(old, new, err_msg=path)


@pytest.mark.parametrize("argument", PUBLISHED)
def test_the_published_recipes(argument):
    """The numbers of the papers, so that nobody changes one unawares."""
    config = load(argument)
    assert (config.train.batch_size, config.optim.lr, config.optim.lr_per) == (4096, 1.5e-4, 256)
    assert (config.optim.b1, config.optim.b2, config.optim.weight_decay) == (0.9, 0.95, 0.05)
    assert config.schedule.warmup_epochs == 40 and config.mask.ratio == 0.75
    assert (config.model.decoder_depth, config.model.decoder_width) == (8, 512)
    _, method = build_method(config)
    grid = (16, 16) if "H/14" in argument else (14, 14)
    assert method.net.grids == {"image": grid}


def test_there_are_configs_to_test():
    assert set(TINY) >= DOZEN
