"""ResNet: bottleneck blocks of convolutions with batch norms, in four stages."""

from __future__ import annotations

import re
from typing import ClassVar, NamedTuple

from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.batch_norm import BatchNorm
from maskmim.models.layers.blocks import Dtype, with_remat
from maskmim.models.layers.encoder import BaseEncoder, Part
from maskmim.models.layers.errors import check_blocks, unknown_variant
from maskmim.models.layers.patches import unpatchify
from maskmim.training.sharding import Rules, transformer
from maskmim.types import Array, Encoded, Randomness

# He's normal distribution by the outputs, as mmcv's kaiming_init and torchvision.
he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# Channels of a block's output, in those of its 3 x 3 convolution.
EXPANSION = 4
STEM_STRIDE = 4  # of the first convolution and the pooling together


class ResNetSize(NamedTuple):
    """Channels of the stem, doubled at each stage but the first; blocks of each stage."""

    width: int
    depths: tuple[int, ...]

    @property
    def stride(self) -> int:
        """Pixels of a cell of the last stage, along each axis."""
        return STEM_STRIDE << (len(self.depths) - 1)

    @property
    def channels(self) -> int:
        """Channels of the last stage."""
        return EXPANSION * self.width << (len(self.depths) - 1)


VARIANTS = {
    "50": ResNetSize(64, (3, 4, 6, 3)),
    "101": ResNetSize(64, (3, 4, 23, 3)),
    "152": ResNetSize(64, (3, 8, 36, 3)),
    "200": ResNetSize(64, (3, 24, 36, 3)),
}


def resnet_variant(name: str) -> ResNetSize:
    """Return the size of a named variant, '50' to '200', or of width x depths.

    name: a key of VARIANTS, or '64x3-4-6-3': channels of the stem, blocks of each stage.
    Raises ModelError for any other name.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*(-[1-9]\d*)*", name):
        raise unknown_variant("ResNet", name, VARIANTS, "width x depths such as '64x3-4-6-3'")
    width, depths = name.split("x")
    size = ResNetSize(int(width), tuple(map(int, depths.split("-"))))
    check_blocks(sum(size.depths))
    return size


def rules() -> Rules:
    """Return sharding rules for `config.mesh.rules`: convolutions over `fsdp` by their outputs."""
    return (
        (r"(stem|conv\d|shortcut)/kernel$", (None, None, None, "fsdp")),
        (r"mask_scale$", ()),
        *transformer(),
    )


class Bottleneck(nn.Module):
    """Convolutions of size 1, 3 and 1 beside a shortcut; the second one has the stride.

    The shortcut has a convolution and a norm where the stride or the channels change.
    """

    width: int
    stride: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, h, w, C] -> [B, h / stride, w / stride, 4 * width]."""
        outputs, stride = EXPANSION * self.width, self.stride
        x = constraints.constrain_examples(x)
        y = nn.relu(self._normed(x, self.width, 1, 1, "1"))
        y = nn.relu(self._normed(y, self.width, 3, stride, "2"))
        y = self._normed(y, outputs, 1, 1, "3")
        if stride > 1 or x.shape[-1] != outputs:
            x = convolve(x, outputs, 1, stride, self.dtype, "shortcut")
            x = BatchNorm(dtype=self.dtype, name="shortcut_norm")(x)
        return nn.relu(x + y)

    def _normed(self, x: Array, channels: int, side: int, stride: int, number: str) -> Array:
        x = convolve(x, channels, side, stride, self.dtype, f"conv{number}")
        return BatchNorm(dtype=self.dtype, name=f"norm{number}")(x)


def convolve(x: Array, channels: int, side: int, stride: int, dtype: Dtype, name: str) -> Array:
    """Apply a convolution of the calling module without bias, padded as torch's `side // 2`."""
    padding = ((side // 2, side // 2),) * 2
    options = {"strides": (stride, stride), "padding": padding, "kernel_init": he_normal}
    return nn.Conv(channels, (side, side), use_bias=False, dtype=dtype, name=name, **options)(x)


class ResNetEncoder(BaseEncoder, Part):
    """A convolution of size 7, a pooling, stages of bottleneck blocks.

    grid: (rows, columns) of the last stage's cells, which are the tokens of the mask.
    Every token enters whatever `visible` says. Subclasses that withhold values of hidden tokens
    write `_fill`, before the first convolution, and `_before`, before each stage; here nothing is
    withheld.
    Source: Deep Residual Learning (arXiv 1512.03385), with the stride in the 3 x 3 convolution, as
    torchvision and mmcv's style 'pytorch'.
    """

    captures: ClassVar[tuple[str, ...]] = ("stages",)
    size: ResNetSize

    def _encode(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        width, stride = self.size.width, self.size.stride
        patches = self._fill(patches, hidden)
        x = unpatchify(patches, (stride, stride), self.grid).astype(self.dtype)
        x = convolve(x, width, 7, 2, self.dtype, "stem")
        x = nn.relu(BatchNorm(dtype=self.dtype, name="stem_norm")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        block, stages = with_remat(Bottleneck, self.remat), []
        for stage, depth in enumerate(self.size.depths):
            x = self._before(stage, x, hidden)
            for number in range(depth):
                step = 2 if stage and not number else 1
                x = block(width << stage, step, self.dtype, name=f"stage{stage}_block{number}")(x)
            stages.append(x)
        tokens = x.reshape(len(x), -1, x.shape[-1])
        return Encoded(tokens[:, :0], tokens, stages=tuple(stages) if "stages" in capture else None)

    def _fill(self, patches: Array, hidden: Array | None) -> Array:
        """Return the patches [B, N, V] that enter."""
        return patches

    def _before(self, stage: int, x: Array, hidden: Array | None) -> Array:
        """Return the cells [B, h, w, C] that enter a stage."""
        return x
