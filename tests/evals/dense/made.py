"""Pictures with maps whose answer is known, and an encoder that is plain arithmetic."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.data.records import BadImage, Example
from maskmim.evals.dense.data import amounts, class_maps
from maskmim.evals.dense.problem import FrozenEncoder, Problem, of_amounts, of_classes
from maskmim.training.sharding import make_mesh

COLOURS = np.array([[220, 40, 40], [40, 210, 60], [50, 60, 230]], np.uint8)
CELL = 8


class Painted:
    """Pictures u8[H, W, 3] of cells in the colour of their class, with maps of `times` the size."""

    def __init__(self, count, shape=(32, 40), times=1, seed=0, bad=()):
        self.labels = {}
        self.count, self.shape, self.times, self.seed, self.bad = count, shape, times, seed, bad
        self.fingerprint = f"painted {seed}"

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.bad:
            raise BadImage("torn")
        rng = np.random.default_rng([self.seed, index])
        cells = rng.integers(0, 3, (self.shape[0] // CELL, self.shape[1] // CELL))
        classes = cells.repeat(CELL, 0).repeat(CELL, 1)
        noise = rng.normal(0, 6, (*self.shape, 3))
        image = np.clip(COLOURS[classes] + noise, 0, 255).astype(np.uint8)
        fine = classes.repeat(self.times, 0).repeat(self.times, 1).astype(np.uint8)
        depth = (1.0 + fine).astype(np.float32)
        return Example({"image": image, "classes": fine[..., None], "depth": depth[..., None]}, {})

    def name(self, index):
        return f"painted {index}"


def painted_classes(train=24, test=6, void=None, classes=3, **changes):
    """A brick of pictures with maps of classes."""
    sources = partial(Painted, train), partial(Painted, test, seed=1, **changes)
    return partial(class_maps, train=sources[0], test=sources[1], classes=classes, void=void)


def painted_depth(train=24, test=6, **changes):
    """A brick of pictures with depth: 1, 2, 3 of the three colours."""
    sources = partial(Painted, train), partial(Painted, test, seed=1, **changes)
    return partial(amounts, train=sources[0], test=sources[1])


def mean_colours(variables, pictures):
    """The mean colour of each cell of 8 x 8 pixels, times `variables`, as the only map."""
    b, h, w, _ = pictures.shape
    cells = jnp.reshape(pictures / 255.0, (b, h // CELL, CELL, w // CELL, CELL, 3))
    return (cells.mean(axis=(2, 4)) * variables,)


def problem_of(task, *, count=24, encoders=None, shape=(32, 24), name="classes"):
    """A problem on crops of painted pictures that are not resized."""
    records = Painted(count, shape=(64, 64))
    mesh = make_mesh({"data": 1, "fsdp": 1, "sequence": 1, "tensor": 1}, jax.devices()[:1])

    def crops(batch_size, seed):
        rng = np.random.default_rng(seed)
        while True:
            chosen = [records[int(i)].encoded for i in rng.integers(0, count, batch_size)]
            corners = CELL * rng.integers(0, 4, (batch_size, 2))
            parts = [
                {n: a[r : r + shape[0], c : c + shape[1]] for n, a in one.items()}
                for one, (r, c) in zip(chosen, corners, strict=True)
            ]
            yield tuple(np.stack([p[n] for p in parts]) for n in ("image", name))

    def flat(batch_size, seed):
        return ((pictures, targets[..., 0]) for pictures, targets in crops(batch_size, seed))

    encoders = encoders or {"": FrozenEncoder(jnp.float32(1.0), mean_colours)}
    return Problem(encoders, task, count, flat, mesh, None)


CLASSES, DEPTH = of_classes(3, None), of_amounts()
