"""A modality of one's own: clouds of points, hidden in groups, after Point-MAE (2203.06604)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.config.ranges import Depth, PositiveInt, Seed
from maskmim.data.records import Example, class_names, manifest_digest
from maskmim.models.layers.attention import plain_attention
from maskmim.models.layers.blocks import Blocks
from maskmim.models.layers.patches import gather
from maskmim.types import Array, Encoded, Mask, Net, Spec, View

# 1. Data: records with labels, each of (seed, index) alone; how a record becomes an array.
NORMS = {"sphere": 2, "cube": np.inf, "octahedron": 1}  # whose unit ball the shape is


class Shapes:
    """Synthetic clouds of 512 points, f32[512, 3]."""

    def __init__(self, count: int, seed: int):
        self.labels = class_names({"shape": NORMS})
        self.fingerprint = manifest_digest([(f"shapes {seed}", count)])
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        points = np.random.default_rng([self.seed, index]).normal(size=(512, 3))
        norm = list(NORMS.values())[index % 3]
        points /= np.linalg.norm(points, norm, axis=1, keepdims=True)
        return Example(points.astype(np.float32), {"shape": index % 3})

    def name(self, index: int) -> str:
        """Return a name for messages about a record."""
        return f"shape {index}"


def shapes(*, count: PositiveInt = 256, seed: Seed = 0) -> Shapes:
    """Return the records."""
    return Shapes(count, seed)


def stored(rng: np.random.Generator, encoded: np.ndarray, channels: int = 3) -> np.ndarray:
    """Decode nothing: records are arrays already."""
    return encoded


def sampled(rng: np.random.Generator, array: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return some of the points, in a random order."""
    return rng.permutation(array)[: size[0]]


# 2. What enters the network: a tree of arrays.
class Groups(NamedTuple):
    """Centres f32[B, G, 3], and the points f32[B, G, K, 3] of each group about its centre."""

    centres: Array
    points: Array


def grouped(clouds: Array, groups: int, size: int) -> Groups:
    """Take as centres points that are far from each other, each with its nearest neighbours."""

    def farthest(cloud: Array) -> Array:
        def choose(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
            nearest, last = state
            nearest = jnp.minimum(nearest, jnp.sum((cloud - cloud[last]) ** 2, -1))
            return (nearest, jnp.argmax(nearest)), last

        start = jnp.full(len(cloud), jnp.inf), jnp.argmax(cloud[:, 0])
        return cloud[jax.lax.scan(choose, start, length=groups)[1]]

    centres = jax.vmap(farthest)(clouds)
    squared = jnp.sum((centres[:, :, None] - clouds[:, None]) ** 2, -1)
    points = jax.vmap(lambda cloud, near: cloud[near])(clouds, jax.lax.top_k(-squared, size)[1])
    return Groups(centres, points - centres[:, :, None])


# 3. The network: a token for each group. Its params match the rules of `mesh.rules` by their names.
class Encoder(nn.Module):
    """A PointNet for each group, the place of its centre, and blocks over the visible groups."""

    depth: int
    width: int

    @nn.compact
    def __call__(self, groups: Groups, visible: Array | None) -> Array:
        """Return tokens f32[B, K, D]; visible None: of all groups."""
        each = nn.Dense(self.width)(nn.gelu(nn.Dense(self.width)(groups.points))).max(axis=2)
        tokens = each + nn.Dense(self.width, name="place")(groups.centres)
        return blocks(self)(tokens if visible is None else gather(tokens, visible))[0]


class Predictor(nn.Module):
    """Blocks over visible tokens and fillings, each at the place of its centre."""

    depth: int
    width: int
    values: int

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> Array:
        """Return f32[B, P, values]."""
        filling = self.param("token", nn.initializers.normal(0.02), (1, 1, self.width))
        places = nn.Dense(self.width, name="place")(encoded.given["centres"])
        rows = jnp.arange(len(places))[:, None]
        tokens = jnp.broadcast_to(filling, places.shape).at[rows, mask.visible].set(encoded.tokens)
        return nn.Dense(self.values)(gather(blocks(self)(tokens + places)[0], mask.predict))


def blocks(part: Encoder | Predictor) -> Blocks:
    """Return the transformer blocks of the package, two heads each."""
    shape = part.depth, 2, 4 * part.width, 1e-6, jnp.float32
    return Blocks(*shape, plain_attention, "none", True, name="blocks")


def point_net(
    spec: Spec,
    *,
    groups: PositiveInt = 16,
    size: PositiveInt = 16,
    depth: Depth = 2,
    width: PositiveInt = 32,
) -> Net:
    """Build the network; `restore` and `display` are None, so that no pictures are drawn."""
    encoder, predictor = Encoder(depth, width), Predictor(1, width, 3 * size)

    def inputs(batch: dict[str, Array]) -> Groups:
        return grouped(batch[spec.stream], groups, size)

    def encode(params, inputs, mask, *, capture=(), randomness=None) -> Encoded:
        visible = None if mask is None else mask.visible
        tokens = encoder.apply({"params": params["encoder"]}, inputs, visible)
        return Encoded(tokens[:, :0], tokens, given={"centres": inputs.centres})

    def predict(params, encoded, mask, *, randomness=None) -> dict[str, Array]:
        return {"points": predictor.apply({"params": params["decoder"]}, encoded, mask)}

    def init(key: Array) -> dict[str, dict]:
        blank, token = inputs({spec.stream: jnp.zeros((1, *spec.shape))}), jnp.zeros((1, 1), int)
        mask = Mask(token, token, jnp.ones((1, groups), bool), jnp.ones((1, 1)))
        params = {"encoder": encoder.init(key, blank, token)["params"]}
        decoder = predictor.init(key, encode(params, blank, mask), mask)["params"]
        return {**params, "decoder": decoder}

    def patchify(inputs: Groups) -> Array:
        return inputs.points.reshape(*inputs.points.shape[:2], -1)

    return Net({spec.stream: (groups,)}, width, init, inputs, encode, predict, patchify, None, None)


# 4. What is predicted: bricks of `objectives.match`.
def members(view: View) -> Array:
    """Return the points of each predicted group, f32[B, P, 3 K]."""
    return gather(view.net.patchify(view.inputs), view.mask.predict)


def chamfer(prediction: Array, target: Array) -> Array:
    """Return the squared distances to the nearest point, both ways, f32[B, P]."""
    a, b = (each.reshape(*each.shape[:2], -1, 3) for each in (prediction, target))
    squared = jnp.sum((a[:, :, :, None] - b[:, :, None]) ** 2, -1)
    return squared.min(3).mean(2) + squared.min(2).mean(2)
