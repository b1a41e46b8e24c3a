"""The head of DPT: maps of four blocks at four resolutions, fused from coarse to fine."""

from __future__ import annotations

from flax import linen as nn

from maskmim.config.ranges import PositiveInt
from maskmim.models.dense_heads import (
    Maps,
    Shapes,
    check_levels,
    head_function,
    one_grid,
    resized,
    resized_corners,
)
from maskmim.types import Array, LearnedFunction

LEVELS = 4
Channels = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class Reassemble(nn.Module):
    """Tokens as a map of another width, at 4, 2, 1 and 1/2 times the resolution."""

    channels: int
    level: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, h, w, D] -> [B, h', w', channels]."""
        x = nn.Conv(self.channels, (1, 1), name="project")(x)
        if self.level < 2:
            times = (4, 2)[self.level]
            window = times, times
            return nn.ConvTranspose(self.channels, window, strides=window, name="resize")(x)
        if self.level == 3:
            halve = nn.Conv(self.channels, (3, 3), strides=2, padding=1, name="resize")
            return halve(x)
        return x


class Residual(nn.Module):
    """Two convolutions before each of which negative values are cut, added to the input."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, h, w, D] -> [B, h, w, D]."""
        width = x.shape[-1]
        y = nn.Conv(width, (3, 3), padding=1, name="first")(nn.relu(x))
        return x + nn.Conv(width, (3, 3), padding=1, name="second")(nn.relu(y))


class Fusion(nn.Module):
    """What coarser maps say, plus this map, at twice its resolution."""

    @nn.compact
    def __call__(self, coarse: Array | None, x: Array) -> Array:
        """Map [B, h, w, D] and None or [B, h', w', D] -> [B, 2 h, 2 w, D]."""
        if coarse is not None:
            x = resized(coarse, x.shape[1:3]) + Residual(name="skip")(x)
        x = Residual(name="merged")(x)
        doubled = resized_corners(x, (2 * x.shape[1], 2 * x.shape[2]))
        return nn.Conv(x.shape[-1], (1, 1), name="project")(doubled)


class Dpt(nn.Module):
    """DPT's neck and head; see `dpt`."""

    outputs: int
    width: int
    channels: Channels

    @nn.compact
    def __call__(self, maps: Maps) -> Array:
        """Map four f32[B, h, w, D] -> f32[B, h', w', outputs].

        h' x w' is 8 times the grid of maps of one grid, twice that of the finest of several.
        """
        fused, alike = None, one_grid(maps)
        for level in reversed(range(LEVELS)):
            x = maps[level]
            if alike:
                x = Reassemble(self.channels[level], level, name=f"reassemble{level}")(x)
            x = nn.Conv(self.width, (3, 3), padding=1, use_bias=False, name=f"level{level}")(x)
            fused = Fusion(name=f"fusion{level}")(fused, x)
        hidden = nn.relu(nn.Conv(self.width, (3, 3), padding=1, name="hidden")(fused))
        return nn.Conv(self.outputs, (1, 1), name="outputs")(hidden)


def dpt(
    shapes: Shapes,
    outputs: int,
    *,
    width: PositiveInt = 256,
    channels: Channels = (96, 192, 384, 768),
) -> LearnedFunction:
    """Return DPT's head on the tokens of four blocks, at 8 times the resolution of the grid.

    Stages, the finest first, have maps of several resolutions already: these are fused as they are,
    at twice the resolution of the finest.
    width:    of the maps that are fused. channels: of the maps of a ViT's blocks before that, the
              finest first.
    Raises ModelError unless four maps are given.
    Source: DPT (arXiv 2103.13413), section 3; DPTNeck of transformers with readout_type='ignore',
    which it equals on grids of even sides; on others the coarser map is resized to the finer one
    here, there the finer to the coarser. Stages are read as it reads those of Swin V2.
    Differences: prefix tokens are left out, as not every encoder has them; the last layers are
    those of its segmentation head, for depth too, without batch norm and dropout.
    """
    check_levels(shapes, LEVELS, "dpt")
    module = Dpt(outputs, width, tuple(channels))
    return head_function(module, shapes, f"DPT, width {width}, {outputs} outputs")
