"""Heads that answer at every place of a picture: what they share, and the linear one.

A head is a brick `(shapes, outputs, *, ...) -> LearnedFunction` whose `call` takes the parameters
and maps of features, a tuple with f32[B, h, w, D] for each (h, w, D) of `shapes`, and returns
f32[B, h', w', outputs]. Callers resize that to the picture, so that a head knows no picture size.
Parameters depend on each D, and on whether the maps have one grid, as blocks of a ViT, or several,
as stages: other grids may be given to `call`.
`models.dpt_head` and `models.upernet_head` have the others.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.layers.dense import Dense
from maskmim.models.layers.errors import ModelError
from maskmim.training.sharding import Rules, transformer
from maskmim.types import Array, LearnedFunction, Tree

Maps = tuple[Array, ...]
Shapes = tuple[tuple[int, int, int], ...]


def head_function(module: nn.Module, shapes: Shapes, says: str) -> LearnedFunction:
    """Return a Flax module (maps -> f32[B, h, w, outputs]) as a learned function."""

    def init(key: Array) -> Tree:
        blank = tuple(jnp.zeros((1, *shape)) for shape in shapes)
        return module.init(key, blank)["params"]

    def call(params: Tree, maps: Maps) -> Array:
        return module.apply({"params": params}, maps)

    return LearnedFunction(init, call, says)


class Linear(nn.Module):
    """A linear layer on each place of the maps, joined along their channels."""

    outputs: int

    @nn.compact
    def __call__(self, maps: Maps) -> Array:
        """Map f32[B, h, w, D] each, on the grid of the first -> f32[B, h, w, outputs]."""
        grid = maps[0].shape[1:3]
        joined = jnp.concatenate([resized(each, grid) for each in maps], axis=-1)
        return Dense(self.outputs, kernel_init=nn.initializers.normal(0.01))(joined)


def linear(shapes: Shapes, outputs: int) -> LearnedFunction:
    """Return a linear layer on the features of each token.

    The kernel starts from N(0, 0.01), the bias at 0.
    Source: DINOv2 (arXiv 2304.07193), section 7.4, "linear": logits of each token, upsampled to the
    picture.
    """
    return head_function(Linear(outputs), shapes, f"linear, {outputs} outputs")


def rules() -> Rules:
    """Return sharding rules for `config.mesh.rules`: heads whole on each device, else as usual."""
    return ((r"^dense/", ()), *transformer())


def one_grid(maps: Maps) -> bool:
    """Return whether maps of features have one grid, as blocks of a ViT have, and stages not."""
    return len({each.shape[1:3] for each in maps}) == 1


def resized(values: Array, size: tuple[int, int]) -> Array:
    """Resize f32[B, h, w, C] to f32[B, *size, C], bilinear between centres of pixels.

    As torch's interpolate(mode='bilinear', align_corners=False), which does not antialias.
    """
    if values.shape[1:3] == tuple(size):
        return values
    shape = (len(values), *size, values.shape[-1])
    return jax.image.resize(values, shape, "bilinear", antialias=False)


def resized_corners(values: Array, size: tuple[int, int]) -> Array:
    """Resize f32[B, h, w, C] to f32[B, *size, C], bilinear, corner pixels staying at the corners.

    As torch's interpolate(mode='bilinear', align_corners=True).
    """
    old = values.shape[1:3]
    scale = jnp.array([(n - 1) / max(m - 1, 1) for n, m in zip(size, old, strict=True)])
    scale = jnp.where(scale == 0, 1.0, scale)
    shape = (len(values), *size, values.shape[-1])
    return jax.image.scale_and_translate(
        values, shape, (1, 2), scale, 0.5 - 0.5 * scale, "linear", antialias=False
    )


def check_levels(shapes: Shapes, count: int, head: str) -> None:
    """Raise ModelError unless a head gets as many maps as it has levels."""
    if len(shapes) != count:
        raise ModelError(
            f"{head} takes {count} maps of features, not {len(shapes)}: give `layers` {count} "
            "shares of the depth, such as (0.25, 0.5, 0.75, 1.0)"
        )
