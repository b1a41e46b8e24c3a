"""Large arrays of every family of networks are split over fsdp and tensor."""

import math

import jax
import optax
import pytest
from jax.sharding import AbstractMesh

from maskmim.config.bricks import resolve
from maskmim.config.load import load
from maskmim.training.build import build_method, build_optimiser
from maskmim.training.sharding import AXES, state_shardings
from maskmim.training.train_step import initial_state
from maskmim.tree_paths import named_leaves
from tests.running import ROOT

# The share of all values that lies on one of four devices, fsdp 2 x tensor 2: a quarter, and what
# stays whole over tensor: patch embeddings, merges, convolutions.
SHARES = {
    "mae.py": 0.26,
    "videomae.py:path=.": 0.26,
    "crossmae.py": 0.26,
    "hpm.py": 0.26,
    "capi.py": 0.26,
    "attmask.py": 0.265,
    "cae.py": 0.26,
    "beit_v2.py": 0.26,
    "simmim.py": 0.26,
    "simmim.py:model=swin": 0.27,
    "maskfeat_video.py": 0.265,
    "maskgit.py:tokenizer=fresh": 0.26,
    "convnext_v2.py": 0.27,
    "vqgan.py": 0.51,
}
LARGE = 2**18


@pytest.mark.parametrize("name", SHARES)
def test_the_state_is_split(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load(f"configs/{name}")
    _, method = build_method(config)
    optimiser = build_optimiser(config, 10_000)
    shapes = jax.eval_shape(lambda key: initial_state(method, optimiser, key), jax.random.key(0))
    sizes = {"fsdp": 2, "tensor": 2}
    mesh = AbstractMesh(tuple(sizes.get(axis, 1) for axis in AXES), AXES)
    places = state_shardings(shapes, optimiser, resolve(config.mesh.rules)(), mesh)
    every = here = 0
    for (path, shape), place in zip(named_leaves(shapes), jax.tree.leaves(places), strict=True):
        size, share = math.prod(shape.shape), math.prod(place.shard_shape(shape.shape))
        every, here = every + size, here + share
        assert size <= LARGE or share <= size / 2, f"{path} {shape.shape} lies whole"
    assert here / every < SHARES[name], here / every


def test_what_an_optimiser_keeps_lies_where_its_parameter_does():
    config = load("configs/mae.py")
    _, method = build_method(config)
    mesh = AbstractMesh((1, 2, 1, 2), AXES)
    optimiser = optax.chain(optax.trace(0.9), optax.adamw(1.0))
    shapes = jax.eval_shape(lambda key: initial_state(method, optimiser, key), jax.random.key(0))
    places = state_shardings(shapes, optimiser, resolve(config.mesh.rules)(), mesh)
    trace, (adam, *_) = places.opt_state
    assert trace.trace == adam.mu == adam.nu == places.params


@pytest.mark.parametrize("name", ["sgd", "lars", "lamb", "lion", "adafactor", "muon"])
def test_the_state_of_every_optimiser_finds_a_place(name):
    """Also what has another shape than its parameter, as the rows of a second moment."""
    config = load("mae:tiny", [f"optim.brick=maskmim.optim.{name}"])
    _, method = build_method(config)
    mesh = AbstractMesh((1, 2, 1, 2), AXES)
    optimiser = build_optimiser(config, 1000)
    shapes = jax.eval_shape(lambda key: initial_state(method, optimiser, key), jax.random.key(0))
    places = state_shardings(shapes, optimiser, resolve(config.mesh.rules)(), mesh)
    for shape, place in zip(jax.tree.leaves(shapes), jax.tree.leaves(places), strict=True):
        assert len(place.shard_shape(shape.shape)) == len(shape.shape)
