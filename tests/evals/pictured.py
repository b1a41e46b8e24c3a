"""A method of plain functions on one or several streams, for tests of pictures."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from maskmim import modalities
from maskmim.config import brick
from maskmim.data.transforms import resize_center_crop
from maskmim.evals.evaluation import Evaluation
from maskmim.masks import uniform
from maskmim.models.layers.patches import patchify, unpatchify
from maskmim.training.sharding import make_mesh
from maskmim.types import Mask, Method, Net, Spec

PATCH = 4


def spec_of(size=(8, 8), channels=3, **more):
    return Spec(size, channels, (0.0,) * channels, (1.0,) * channels, **more)


def grid_of(spec):
    return tuple(side // PATCH for side in spec.size)


def net_of(spec, **changes):
    """A network whose inputs are the arrays of a batch as they are, by stream where several."""
    grids = {name: grid_of(each) for name, each in spec.arrays.items()}
    several = len(grids) > 1

    def each(function):
        def mapped(arrays):
            return {name: function(name, array) for name, array in arrays.items()}

        return mapped if several else lambda array: function(spec.stream, array)

    def inputs(batch):
        found = {name: batch[name].astype(jnp.float32) for name in grids if name in batch}
        return found if several else found[spec.stream]

    sides = {name: (PATCH,) * len(grid) for name, grid in grids.items()}
    net = Net(
        grids=grids,
        width=4,
        init=lambda key: {},
        inputs=inputs,
        encode=None,
        predict=None,
        patchify=each(lambda name, array: patchify(array, sides[name])),
        restore=each(lambda name, cut: unpatchify(cut, sides[name], grids[name])),
        display=each(lambda name, array: jnp.clip(array, 0, 255).astype(jnp.uint8)),
    )
    return net._replace(**changes)


def hide_first(examples, tokens):
    """A mask that hides and predicts the first token."""
    hidden = np.zeros((examples, tokens), bool)
    hidden[:, 0] = True
    visible = np.tile(np.arange(1, tokens), (examples, 1))
    first = np.zeros((examples, 1), np.int32)
    return Mask(*map(jnp.asarray, (visible, first, hidden, np.ones((examples, 1), np.float32))))


def parts_of(spec, net=None, kinds=None, sheets=None, apply=("mask",)):
    """The parts of a training that pictures need; every stream hides its first token."""
    net = net_of(spec) if net is None else net
    kinds = dict.fromkeys(spec.arrays, modalities.image()) | (kinds or {})
    tokens = [int(np.prod(grid)) for grid in net.grids.values()]

    def mask(variables, batch, randomness):
        examples = len(next(iter(batch.values())))
        each = [hide_first(examples, count).hidden for count in tokens]
        hidden = jnp.concatenate(each, axis=1)
        return {"mask": Mask(None, None, hidden, None), "inputs": net.inputs(batch)}

    known = {"mask": mask, "reconstruct": None}
    method = Method(
        net, None, None, None, None, {name: known[name] for name in apply}, (), sheets or {}
    )
    evals = SimpleNamespace(test=None, transform=resize_center_crop, decode=None)
    mesh = make_mesh({"data": -1})
    return SimpleNamespace(spec=spec, method=method, modalities=kinds, evals=evals, mesh=mesh)


def evaluation_of(parts, workdir=None, channels=()):
    """What the functions that draw take."""
    config = ConfigDict({"log": {"picture_channels": channels}, "seed": 0})
    config.mask = brick(uniform.random, ratio=0.5)
    return Evaluation(config, workdir, parts, (), 7, None)
