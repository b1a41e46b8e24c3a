"""The head of UPerNet: pyramid pooling of the coarsest map, and a feature pyramid over all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.config.ranges import PositiveInt, Sizes
from maskmim.models.dense_heads import (
    Maps,
    Shapes,
    check_levels,
    head_function,
    one_grid,
    resized,
)
from maskmim.types import Array, LearnedFunction

LEVELS = 4
MakeNorm = Callable[[], nn.Module]
channel_norm = partial(nn.LayerNorm, epsilon=1e-6)


class ConvUnit(nn.Module):
    """A convolution without bias, a norm, ReLU."""

    width: int
    side: int
    norm: MakeNorm

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, h, w, D] -> [B, h, w, width]."""
        side = self.side, self.side
        x = nn.Conv(self.width, side, padding=self.side // 2, use_bias=False, name="conv")(x)
        return nn.relu(self.norm()(x))


class Pyramid(nn.Module):
    """Maps of one grid at 4, 2, 1 and 1/2 times its resolution; maps of several stay as they are.

    Source: how BEiT and MAE feed a ViT to UPerNet: two transposed convolutions of 2 x 2 with norm
    and GELU between them, one, nothing, and a maximum over 2 x 2.
    """

    norm: MakeNorm

    @nn.compact
    def __call__(self, maps: Maps) -> Maps:
        """Map four [B, h, w, D] -> four maps, the finest first."""
        if not one_grid(maps):
            return maps
        first, second, third, last = maps
        first = self._doubled(nn.gelu(self.norm()(self._doubled(first, "first"))), "first_again")
        second = self._doubled(second, "second")
        return first, second, third, nn.max_pool(last, (2, 2), (2, 2), "SAME")

    def _doubled(self, x: Array, name: str) -> Array:
        return nn.ConvTranspose(x.shape[-1], (2, 2), strides=(2, 2), name=name)(x)


class UperNet(nn.Module):
    """UPerNet's decode head; see `upernet`. norm: makes the norm of each convolution."""

    outputs: int
    width: int
    pools: tuple[int, ...]
    norm: MakeNorm = channel_norm

    @nn.compact
    def __call__(self, maps: Maps) -> Array:
        """Map four f32[B, h, w, D], the finest first -> f32[B, h, w, outputs] of the finest."""
        unit = partial(ConvUnit, self.width, norm=self.norm)
        maps = Pyramid(self.norm, name="pyramid")(maps)
        levels = [unit(1, name=f"lateral{n}")(each) for n, each in enumerate(maps[:-1])]
        levels.append(self._pooled(maps[-1], unit))
        for n in reversed(range(LEVELS - 1)):
            levels[n] = levels[n] + resized(levels[n + 1], levels[n].shape[1:3])
        finest = levels[0].shape[1:3]
        refined = [unit(3, name=f"refined{n}")(each) for n, each in enumerate(levels[:-1])]
        every = [resized(each, finest) for each in (*refined, levels[-1])]
        fused = unit(3, name="fused")(jnp.concatenate(every, axis=-1))
        return nn.Conv(self.outputs, (1, 1), name="outputs")(fused)

    def _pooled(self, x: Array, unit: Callable[..., nn.Module]) -> Array:
        """Return the coarsest map with its means over grids of several sizes: [B, h, w, width]."""
        grid = x.shape[1:3]
        pooled = (unit(1, name=f"pool{side}")(pooled_grid(x, side)) for side in self.pools)
        every = [x, *(resized(each, grid) for each in pooled)]
        return unit(3, name="pooled")(jnp.concatenate(every, axis=-1))


def pooled_grid(x: Array, side: int) -> Array:
    """Return means over a grid of side x side cells: f32[B, h, w, D] -> f32[B, side, side, D].

    Cell i of h rows is from floor(i h / side) to ceil((i + 1) h / side), as in torch's
    adaptive_avg_pool2d.
    """
    rows, columns = (_cells(length, side) for length in x.shape[1:3])
    return jnp.einsum("yh,xw,bhwd->byxd", rows, columns, x)


def _cells(length: int, side: int) -> np.ndarray:
    """Return the weight of each place in each cell, f32[side, length]."""
    weights = np.zeros((side, length), np.float32)
    for cell in range(side):
        start, stop = cell * length // side, -(-(cell + 1) * length // side)
        weights[cell, start:stop] = 1 / (stop - start)
    return weights


def upernet(
    shapes: Shapes, outputs: int, *, width: PositiveInt = 512, pools: Sizes = (1, 2, 3, 6)
) -> LearnedFunction:
    """Return UPerNet's decode head on four maps, at the resolution of the finest.

    Maps of one grid, as of blocks of a ViT, are brought to 4, 2, 1 and 1/2 times its resolution
    first, see `Pyramid`; those of the stages of a hierarchical encoder have their own.
    width: of every convolution. pools: sides of the grids of the pyramid pooling.
    Raises ModelError unless four maps are given.
    Source: UPerNet (arXiv 1807.10221); UperNetHead of transformers, which it equals but for the
    norms: LayerNorm over channels in place of batch norm, so that a picture is predicted alone as
    it is in a batch (ours). The auxiliary head that some recipes add is left out.
    """
    check_levels(shapes, LEVELS, "upernet")
    module = UperNet(outputs, width, tuple(pools))
    return head_function(module, shapes, f"UPerNet, width {width}, {outputs} outputs")
