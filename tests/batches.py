"""Batches of random values as the input pipeline makes them, and its own."""

import jax
import numpy as np

from maskmim.data.pipeline import train_batches
from maskmim.planning.cost import batch_shapes
from maskmim.train_loop import place_on_mesh
from maskmim.training.build import spec_of
from maskmim.training.sharding import put


def random_batch(config, rng, mesh=None):
    """A batch of a config as the step takes it; on a mesh where one is given.

    Levels, amounts, indices below the classes of their stream, labels below those of their set.
    """
    spec = spec_of(config)
    shapes = batch_shapes(config, config.train.batch_size)
    labels = shapes.pop("label", {})
    most = {name: one.classes or 256 for name, one in spec.arrays.items()}
    batch = {name: random(rng, shape, most.get(name, 256)) for name, shape in shapes.items()}
    if labels:
        batch["label"] = {name: random(rng, labels[name], spec.labels[name]) for name in labels}
    return batch if mesh is None else jax.tree.map(lambda array: put(array, mesh), batch)


def random(rng, shape, most):
    """An array of random values; whole numbers are below `most`."""
    if shape.dtype == np.bool_:
        return rng.random(shape.shape) < 0.5
    if np.issubdtype(shape.dtype, np.integer):
        return rng.integers(0, most, shape.shape, shape.dtype)
    return rng.standard_normal(shape.shape).astype(shape.dtype)


def placed(config, parts):
    """The first batch of the data of a config, as the loop gives it to the step."""
    batches = train_batches(
        parts.data.train(),
        spec=parts.spec,
        batch_size=config.train.batch_size,
        seed=0,
        decode=parts.data.decode,
        augment=parts.data.augment,
        repeats=config.data.repeats,
    )
    return place_on_mesh(next(batches), parts)


def shapes_of(tree):
    """The shape and the dtype of each array."""
    return jax.tree.map(lambda leaf: (tuple(leaf.shape), str(leaf.dtype)), tree)
