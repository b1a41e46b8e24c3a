"""Fixed teachers: their weights never change and are not part of the trained state."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.losses.regression import squared_error
from maskmim.masks.roles import in_place
from maskmim.masks.uniform import random
from maskmim.methods.masked import masked
from maskmim.models.frozen_vit import random_vit
from maskmim.models.in_place import vit_in_place
from maskmim.models.vit import ModelError
from maskmim.objectives.matching import match
from maskmim.targets.features import features as hinted
from maskmim.teachers import pretrained
from maskmim.teachers.frozen import FrozenError, features, network_inputs
from maskmim.training.train_step import make_train_step
from maskmim.types import Context, State
from tests.compiling import quick_jit
from tests.tiny import SPEC, pictures

pytestmark = pytest.mark.full

NANO = partial(random_vit, variant="nano", patch=(8, 8))


def find(teacher, batch, grids):
    """Return the hints of a teacher for a batch, jitted."""

    @quick_jit
    def look(frozen, batch):
        return teacher.find(None, (), frozen, Context(batch, grids, {}), None)

    return look(teacher.freeze(), batch)


def method():
    """Return a method whose student predicts random features."""
    return masked(
        SPEC,
        model=partial(vit_in_place, variant="nano", patch=(8, 8), heads={"features": 32}),
        mask=partial(in_place, sampler=partial(random, ratio=0.5)),
        objectives={"features": partial(match, head="features", target=hinted, loss=squared_error)},
        teachers={"fixed": partial(features, network=NANO, normalise=True)},
    )


def test_a_student_learns_and_the_teacher_stays():
    built = method()
    params, extra = built.init(jax.random.key(0))
    assert extra == {"fixed": ()}
    frozen = built.freeze()
    before = jax.tree.map(np.asarray, frozen)
    optimiser = optax.adam(3e-3)
    state = State(jnp.int32(0), params, extra, optimiser.init(params), jnp.int32(0))
    step = quick_jit(make_train_step(built, optimiser, seed=0, total_steps=15))
    losses = []
    for _ in range(15):
        state, metrics = step(state, frozen, {"image": pictures(8)})
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.8 * losses[0], losses
    assert step._cache_size() == 1
    jax.tree.map(np.testing.assert_array_equal, before, built.freeze())


def test_the_teacher_sees_the_whole_picture():
    """Its features do not depend on the mask, and differ where any pixel does."""
    teacher = features(network=NANO, class_token=True)
    images = pictures(2)
    hints = find(teacher, {"image": images}, {"image": (4, 3)})
    assert {name: value.shape for name, value in hints.items()} == {
        "features": (2, 12, 32),
        "class_feature": (2, 32),
    }
    changed = images.copy()
    changed[0, :8, :8] = 255 - changed[0, :8, :8]
    hints_of_changed = find(teacher, {"image": changed}, {"image": (4, 3)})
    assert np.all(np.abs(hints_of_changed["features"][0] - hints["features"][0]).max(axis=-1) > 0)
    np.testing.assert_array_equal(hints_of_changed["features"][1], hints["features"][1])


def test_normalised_features_have_mean_0_and_deviation_1():
    teacher = features(network=partial(NANO, layer=1), normalise=True)
    values = find(teacher, {"image": pictures(2)}, {"image": (4, 3)})["features"]
    np.testing.assert_allclose(np.mean(values, axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(values, axis=-1), 1, atol=1e-3)


def test_a_layer_is_that_of_the_same_network():
    whole, first = NANO().load(), NANO(layer=1).load()
    kernel = "stack", "blocks", "attention", "qkv", "kernel"
    for name in kernel:
        whole, first = whole[name], first[name]
    np.testing.assert_array_equal(whole[:1], first)
    assert len(whole) == 2


def test_batches_that_a_fixed_teacher_cannot_use_are_errors():
    teacher = features(network=NANO)
    grids = {"image": (4, 3)}

    def look(batch, grids=grids):
        return teacher.find(None, (), (), Context(batch, grids, {}), None)

    with pytest.raises(FrozenError, match="no 'image': it has video"):
        look({"video": pictures(2)})
    with pytest.raises(FrozenError, match="3 channels, the batch has 1"):
        look({"image": pictures(2)[..., :1]})
    with pytest.raises(FrozenError, match="needs pictures"):
        look({"image": pictures(2)[:, None]}, {"image": (1, 4, 3)})
    with pytest.raises(ModelError, match="no layer 3"):
        NANO(layer=3)


def test_real_numbers_are_resized_without_being_clipped():
    pixels = np.random.default_rng(0).uniform(-4, 900, (1, 16, 16, 3)).astype(np.float32)
    context = Context({"image": pixels}, {"image": (4, 3)}, {})
    found = network_inputs(NANO(), context, "image")
    network = NANO()
    expected = jax.image.resize(pixels, (1, 32, 24, 3), "cubic")
    expected = (expected - np.array(network.mean)) / np.array(network.std)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)


def test_a_run_of_ours_teaches(tmp_path, monkeypatch):
    """Its own normalisation and weights; another grid is refused."""

    class Given:
        spec = SPEC
        method = method()
        variables = evaluated = method.variables(jax.random.key(1))

    monkeypatch.setattr(pretrained, "load_trained", lambda workdir: Given)
    net, params = Given.method.net, Given.variables.params
    batch = {"image": pictures(2)}
    encode = quick_jit(partial(net.encode, capture=("layers", "attention")))
    whole = encode(params, net.inputs(batch), None)
    for layer in (None, 1):
        network = partial(pretrained.run, workdir="run", layer=layer)
        teacher = features(network=network, attention=True)
        assert teacher.gives == ("features", "attention") and not teacher.sees_mask
        hints = find(teacher, batch, net.grids)
        expected = whole.tokens if layer is None else whole.layers[0][:, 1:]
        np.testing.assert_allclose(hints["features"], expected, atol=1e-5)
        rows = whole.attention[layer - 1 if layer else -1][:, :, 1:].mean(axis=1)
        np.testing.assert_allclose(hints["attention"], rows, atol=1e-5)
    with pytest.raises(ModelError, match=r"into \(4, 3\) tokens, the student into \(3, 3\)"):
        teacher.find(net, (), params, Context(batch, {"image": (3, 3)}, {}), None)
