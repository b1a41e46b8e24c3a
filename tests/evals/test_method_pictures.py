"""Drawing what a method shows of itself."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from maskmim.evals.method_pictures import coloured, jit_in_order
from maskmim.training.sharding import make_mesh
from maskmim.types import Spec


def test_columns_keep_the_order_that_they_were_given_in():
    def draw(factor):
        return {"true": factor * jnp.ones(2), "a guess": factor * jnp.zeros(2)}

    mesh = make_mesh({"data": -1, "fsdp": 1, "tensor": 1})
    run = jit_in_order(SimpleNamespace(mesh=mesh), draw)
    for factor in (1.0, 2.0):
        found = run(factor)
        assert list(found) == ["true", "a guess"] and found["true"][0] == factor


@pytest.mark.parametrize(
    "chosen, names, shown",
    [
        ((), (), (0, 1, 2)),
        ((7, 3, 0), (), (7, 3, 0)),
        (("5",), (), (5, 5, 5)),
        (("B7", "B0", 2), tuple(f"B{i}" for i in range(13)), (7, 0, 2)),
    ],
)
def test_pictures_show_the_chosen_channels(chosen, names, shown):
    spec = Spec((4, 4), 13, (0.0,) * 13, (1.0,) * 13, names=names)
    config = ConfigDict({"log": {"picture_channels": chosen}})
    evaluation = SimpleNamespace(config=config, parts=SimpleNamespace(spec=spec))
    arrays = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 13), np.uint8)
    assert np.array_equal(coloured(evaluation, arrays), arrays[..., list(shown)])
    rgb = arrays[..., :3]  # a picture of something else than the input
    assert np.array_equal(coloured(evaluation, rgb), rgb)


@pytest.mark.parametrize("channels", [1, 2])
def test_pictures_of_one_or_two_channels_are_grey(channels):
    spec = Spec((4, 4), channels, (0.0,) * channels, (1.0,) * channels)
    config = ConfigDict({"log": {"picture_channels": ()}})
    evaluation = SimpleNamespace(config=config, parts=SimpleNamespace(spec=spec))
    arrays = np.random.default_rng(0).integers(0, 256, (2, 4, 4, channels), np.uint8)
    assert np.array_equal(coloured(evaluation, arrays), arrays[..., :1].repeat(3, -1))
