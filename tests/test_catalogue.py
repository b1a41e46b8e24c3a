"""Every config loads, its step has the right shapes, and the step trains what it should.

The default tier trains a dozen tiny configs, where jax promotes nothing by itself, and the full
tier all others. All tests of a config run in a row, on one assembly: pytest groups them by the
fixture `made`.
"""

import math

import jax
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.config.python_file import config_files
from maskmim.planning.cost import batch_shapes
from maskmim.training.build import build_method, init_sharded
from maskmim.tree_paths import named_leaves
from tests.batches import placed, random_batch, shapes_of
from tests.tiny_configs import OTHERS, TINY, entries, examples, promoting_nothing, tiny, zeros

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
ALL = [*TINY, *OTHERS]
DOZEN_FIRST = [pytest.param(name, marks=() if name in DOZEN else pytest.mark.full) for name in ALL]


@pytest.fixture(scope="module")
def made(request):
    """A tiny config, what it assembles where nothing is promoted, and its step."""
    with promoting_nothing():
        return tiny(request.param)


@pytest.mark.parametrize("name", sorted(config_files()))
def test_the_published_config_loads(name):
    config = load(f"{name}:{NEEDED[name]}" if name in NEEDED else name)
    assert config.train.batch_size > 0 and config.train.epochs > 0
    assert "model" in config


def like(one: jax.Array, other: jax.ShapeDtypeStruct) -> bool:
    """Whether two arrays have the same shape and dtype."""
    return (one.shape, one.dtype) == (other.shape, other.dtype)


@pytest.mark.parametrize("made", DOZEN_FIRST, indirect=True)
def test_three_tiny_steps(made):
    config, parts, step = made
    state, frozen = init_sharded(parts, config.seed)
    before = jax.tree.map(np.asarray, (state.params, frozen))
    rng = np.random.default_rng(0)
    for _ in range(3):
        batch = random_batch(config, rng, parts.mesh)
        with promoting_nothing():
            state, metrics = step(state, frozen, batch)
        assert {"loss", "grad_norm", "bad_steps"} <= set(metrics)
        assert all(metric.shape == () for metric in metrics.values())
        assert all(math.isfinite(float(value)) for value in metrics.values()), metrics
    assert step._cache_size() == 1
    assert jax.tree.structure(state) == jax.tree.structure(parts.shapes)
    assert jax.tree.all(jax.tree.map(like, state, parts.shapes))
    assert int(state.step) == 3 and int(state.bad_steps) == 0
    for (path, old), new in zip(
        named_leaves(before[0]), jax.tree.leaves(state.params), strict=True
    ):
        assert old.shape == new.shape and not np.array_equal(old, new), path
    for (path, old), new in zip(named_leaves(before[1]), jax.tree.leaves(frozen), strict=True):
        np.testing.assert_array_equal(old, new, err_msg=path)


@pytest.mark.full
@pytest.mark.parametrize("made", ALL, indirect=True)
def test_numpy_parameters_are_taken_and_nothing_is_promoted(made):
    """As `load_trained` returns them, by what evaluators and pictures call of a method."""
    _, parts, _ = made
    with promoting_nothing():
        for entry in entries(parts, zeros(parts)).values():
            jax.eval_shape(entry, examples(parts))


@pytest.mark.full
@pytest.mark.parametrize("made", ALL, indirect=True)
def test_every_config_trains_on_the_batch_that_is_planned(made):
    """The batch of the data has the shapes that a plan counts."""
    planned = batch_shapes(made.config, made.config.train.batch_size)
    assert shapes_of(placed(made.config, made.parts)) == shapes_of(planned)


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
