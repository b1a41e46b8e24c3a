"""StyleGAN's discriminator of pictures and reconstructions, as a `Critic` value.

Source: StyleGAN2 (arXiv 1912.04958); nets/discriminator.py, google-research/maskgit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.config.ranges import PositiveInt
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import xavier
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.errors import ModelError
from maskmim.types import Array, Spec, Tree

BLUR = np.array([1.0, 3.0, 3.0, 1.0], np.float32) / 8


class Critic(NamedTuple):
    """A discriminator as pure functions.

    init:  key -> params.
    score: (params, f32[B, H, W, C]) -> f32[B], high for pictures that look real.
    says:  a short line for people.
    """

    init: Callable[[Array], Tree]
    score: Callable[[Tree, Array], Array]
    says: str


def downsample_blurred(x: Array) -> Array:
    """Blur with 1 3 3 1 and keep every second pixel: [B, h, w, C] -> [B, h / 2, w / 2, C].

    Source: Making Convolutional Networks Shift-Invariant Again (arXiv 1904.11486).
    """
    channels = x.shape[-1]
    kernel = jnp.asarray(BLUR[:, None] * BLUR[None, :])[:, :, None, None]
    return jax.lax.conv_general_dilated(
        x,
        jnp.tile(kernel, (1, 1, 1, channels)),
        (2, 2),
        "SAME",
        feature_group_count=channels,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


class Block(nn.Module):
    """Two convolutions, the second downsampled, plus a shortcut; the sum divided by sqrt 2."""

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, h, w, C] -> [B, h / 2, w / 2, width]."""
        conv = partial(nn.Conv, kernel_init=xavier)
        y = leaky_relu(conv(x.shape[-1], (3, 3), name="conv1")(x))
        y = leaky_relu(conv(self.width, (3, 3), name="conv2")(downsample_blurred(y)))
        short = conv(self.width, (1, 1), use_bias=False, name="conv_short")(downsample_blurred(x))
        return constraints.constrain_examples((short + y) / math.sqrt(2))


class Discriminator(nn.Module):
    """Blocks down to 4 x 4, then two dense layers; widths[i] at the resolution size / 2 ** i."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map f32[B, H, W, C] -> f32[B]."""
        conv = partial(nn.Conv, kernel_size=(3, 3), kernel_init=xavier)
        x = leaky_relu(conv(self.widths[0], name="conv_in")(x))
        for place, width in enumerate(self.widths[1:]):
            x = Block(width, name=f"block{place}")(x)
        last = self.widths[-1]
        x = leaky_relu(conv(last, name="conv_out")(x)).reshape(len(x), -1)
        x = leaky_relu(Dense(last, kernel_init=xavier, name="dense")(x))
        return Dense(1, kernel_init=xavier, name="dense_out")(x)[:, 0]


def leaky_relu(x: Array) -> Array:
    """Apply ReLU with slope 0.2 below zero."""
    return nn.leaky_relu(x, 0.2)


def stylegan(spec: Spec, *, capacity: PositiveInt = 16384, widest: PositiveInt = 512) -> Critic:
    """Build StyleGAN2's discriminator, without its statistics over the batch.

    capacity: a resolution has capacity / side channels, at most `widest`; the defaults give 64 at
              256 pixels and 512 at 32 and below, as published.
    Computes in float32, as the official code does.
    Raises ModelError unless pictures are squares whose side is a power of two, at least 8.
    """
    side = spec.size[0]
    if tuple(spec.size) != (side, side) or side & (side - 1) or side < 8:
        raise ModelError(
            f"the discriminator takes squares of 8, 16, 32, ... pixels, not {spec.size}: change "
            "input.size, or train the tokenizer without it"
        )
    sides = [side >> place for place in range(int(math.log2(side)) - 1)]
    widths = tuple(min(widest, max(1, capacity // side)) for side in sides)
    module = Discriminator(widths)

    def init(key: Array) -> Tree:
        return module.init(key, jnp.zeros((1, *spec.size, spec.channels)))["params"]

    def score(params: Tree, images: Array) -> Array:
        return module.apply({"params": params}, images)

    return Critic(init, score, f"StyleGAN2, {'-'.join(map(str, widths))} channels")
