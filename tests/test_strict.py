"""Programs trace where jax promotes nothing by itself, and where parameters are numpy arrays.

Nothing is compiled: `jax.eval_shape` of losses and of what evaluators call. The train steps of all
tiny configs are traced so in tests/test_catalogue.py.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.evals.evaluation import evaluated_shapes
from maskmim.planning.cost import batch_shapes
from maskmim.training.build import jitted_step
from maskmim.types import Context, Randomness, Variables, random_key
from tests.masks.every import context_at, main_grid, standalone_samplers
from tests.test_catalogue import OTHERS, TINY, promoting_nothing, tiny

pytestmark = pytest.mark.full


@pytest.fixture
def strict():
    with promoting_nothing():
        yield


def entries(parts, variables):
    """Functions of a batch, by name: all that evaluators and pictures call of a method."""
    apply, sheets = parts.method.apply, parts.method.sheets
    plain = {name: apply[name] for name in ("encode", "encode_student", "codes") if name in apply}
    drawing = {name: apply[name] for name in ("mask", "reconstruct") if name in apply}
    drawing |= {f"sheet {name}": sheet for name, sheet in sheets.items()}
    randomness = Randomness.of(random_key(0), 4)
    found = {name: lambda batch, f=f: f(variables, batch) for name, f in plain.items()}
    return found | {
        name: lambda batch, f=f: f(variables, batch, randomness) for name, f in drawing.items()
    }


def examples(parts):
    """Shapes of a batch of evaluation."""
    made = {**parts.spec.arrays, **parts.spec.fields}
    declared = {
        name: jax.ShapeDtypeStruct((4, *one.shape), one.dtype) for name, one in made.items()
    }
    return declared | evaluated_shapes(parts, 4)


def zeros(parts):
    shapes = Variables(parts.shapes.params, parts.shapes.extra, parts.frozen_shapes)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


@pytest.mark.parametrize("name", ["colormae", "vq_kd"])
def test_micro_batches_promote_nothing(name, strict):
    config, parts = tiny(name)
    config.train.micro_batches = 2
    batch = batch_shapes(config, config.train.batch_size)
    jax.eval_shape(jitted_step(config, parts), parts.shapes, parts.frozen_shapes, batch)


def test_generation_promotes_nothing(strict):
    _, parts = tiny("maskgit")
    length = math.prod(next(iter(parts.method.net.grids.values())))
    codes, classes = jnp.zeros((2, length), jnp.int32), jnp.zeros((2,), jnp.int32)
    randomness = Randomness.of(random_key(0), 2)
    generate = parts.method.apply["generate"]
    jax.eval_shape(lambda v: generate(v, codes, classes, randomness), zeros(parts))
    jax.eval_shape(lambda v: parts.method.apply["draw"](v, codes), zeros(parts))


@pytest.mark.parametrize("sampler", standalone_samplers(), ids=lambda each: each.name)
def test_samplers_promote_nothing(sampler, strict):
    grid = main_grid(sampler)
    options = {"ratio": 0.75} if "ratio" in sampler.takes else {}

    def draw(randomness, hints):
        context = Context({}, {"tokens": grid}, hints, jnp.float32(0.5))
        return sampler.function(randomness, context, **options)

    hints = dict(context_at(sampler, grid, np.arange(3)).hints)
    jax.eval_shape(draw, Randomness.of(random_key(0), 3), hints)


@pytest.mark.parametrize("name", [*TINY, *OTHERS])
def test_numpy_parameters_are_taken_and_nothing_is_promoted(name, strict):
    """As `load_trained` returns them, and closed over by a function that a user jits."""
    config, parts = tiny(name)
    variables, batch = zeros(parts), batch_shapes(config, 4)
    randomness = Randomness.of(random_key(0), jax.tree.leaves(batch)[0].shape[0])
    loss = parts.method.loss
    jax.eval_shape(lambda b: loss(variables, b, randomness, jnp.float32(0.5)), batch)
    for entry in entries(parts, variables).values():
        jax.eval_shape(entry, examples(parts))


def test_an_eager_encode_with_learned_positions_takes_numpy_parameters():
    _, parts = tiny("pixio")
    net, params = parts.method.net, zeros(parts).params
    randomness = Randomness.of(random_key(0), 2)
    batch = {"image": np.zeros((2, *parts.spec.shape), np.uint8)}
    masked = parts.method.apply["mask"](Variables(params, (), ()), batch, randomness)
    encoded = net.encode(params, masked["inputs"], masked["mask"])
    assert encoded.tokens.shape[:2] == masked["mask"].visible.shape
