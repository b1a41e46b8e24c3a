"""Depth-wise convolutions: one form for accelerators, one for a CPU, with equal results.

XLA has no fast kernel for the gradient of a grouped convolution on a CPU: at 32 x 32 cells of 24
channels a step of 64 pictures takes tens of seconds. A sum of shifted products is one loop.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Initializer
from jax import lax

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype
from maskmim.models.layers.machine import for_one_cpu
from maskmim.types import Array


class DepthwiseConv(nn.Module):
    """A convolution of each channel by itself, with zeros beyond the border.

    side: cells of the kernel along each axis, an odd number.
    Parameters have the names and shapes of those of `flax.linen.Conv`.
    """

    side: int
    kernel_init: Initializer
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, h, w, D] -> [B, h, w, D]."""
        width = x.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (self.side, self.side, 1, width))
        bias = self.param("bias", nn.initializers.zeros, (width,))
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        convolve = shifted_products if for_one_cpu() else grouped_convolution
        y = convolve(constraints.constrain_depthwise(x), kernel)
        return constraints.constrain_depthwise(y) + bias[None, None, None]


def grouped_convolution(x: Array, kernel: Array) -> Array:
    """Convolve [B, h, w, D] with [side, side, 1, D], as accelerators do it fast."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def shifted_products(x: Array, kernel: Array) -> Array:
    """Return what `grouped_convolution` does: each shift of x times its row of the kernel, summed.

    Its sums are in another order.
    """
    side = kernel.shape[0]
    rows, columns = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (side // 2, side // 2), (side // 2, side // 2), (0, 0)))
    total = jnp.zeros_like(x)
    for row in range(side):
        for column in range(side):
            shifted = padded[:, row : row + rows, column : column + columns]
            total = total + shifted * kernel[row, column, None, None]
    return total
