"""The parameters of a config as text: path, shape, how it is split, whether it is decayed.

`python -m tests.golden.parameters.record` writes the files again; the diff shows the changes.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh

from maskmim.config.bricks import bind, resolve
from maskmim.config.load import load
from maskmim.training.build import build_method
from maskmim.training.sharding import AXES, tree_shardings
from maskmim.tree_paths import named_leaves

CONFIGS = {
    "mae_b16": "configs/mae.py",
    "mae_h14": "configs/mae.py:variant=H/14",
    "quickstart": "configs/quickstart.py",
    "crossmae_b16": "configs/crossmae.py",
    "pixio_h16": "configs/pixio.py",
}
FOLDER = Path(__file__).parent


def describe(argument: str) -> str:
    """One line for each parameter, on a mesh of 2 x 4 x 2 devices."""
    config = load(argument)
    _, method = build_method(config)
    params = jax.eval_shape(method.init, jax.random.key(0))[0]
    mesh = AbstractMesh((2, 4, 1, 2), AXES)
    places = dict(named_leaves(tree_shardings(params, resolve(config.mesh.rules)(), mesh)))
    decayed = _decayed(config, params)
    lines = []
    for name, leaf in named_leaves(params):
        shape = "x".join(map(str, leaf.shape))
        split = ",".join(axis or "-" for axis in places[name].spec) or "whole"
        lines.append(f"{name:<45} {shape:<20} {split:<22} {'decay' if decayed[name] else ''}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _decayed(config, params):
    """{path: whether weight decay moves it}, tried on arrays of the same paths with one value."""
    ones = jax.tree.map(lambda leaf: jnp.ones((1,) * len(leaf.shape)), params)
    make = partial(bind(config.optim), lr=1.0, weight_decay=0.5)
    optimiser = make(lambda step: 1.0, config.train.batch_size)
    zeros = jax.tree.map(jnp.zeros_like, ones)
    updates, _ = optimiser.update(zeros, optimiser.init(ones), ones)
    return {name: bool(jnp.any(update != 0)) for name, update in named_leaves(updates)}


if __name__ == "__main__":
    for name, argument in CONFIGS.items():
        (FOLDER / f"{name}.txt").write_text(describe(argument))
