"""Dense layers; on a single CPU their weight gradients are products that XLA computes fast.

Everywhere else the layers are Flax's own. XLA's CPU compiler hands x @ w and dy @ w.T to YNNPACK;
x.T @ dy, the gradient of w, goes to Eigen, at about half the speed. A transposition that the
compiler may not fold makes a plain product of it.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from maskmim.models.layers.machine import for_one_cpu
from maskmim.types import Array


def dense_product(
    x: Array, kernel: Array, dimension_numbers: lax.DotDimensionNumbers, **keywords: Any
) -> Array:
    """Return `lax.dot_general` of its arguments, as dense layers of Flax call it.

    On a single CPU, in float32, the result is that of the same product of two matrices, and its
    gradients round differently.
    """
    (contracted, of_kernel), batch = dimension_numbers
    count = len(contracted)
    plain = (
        tuple(of_kernel) == tuple(range(count))
        and tuple(contracted) == tuple(range(x.ndim - count, x.ndim))
        and not any(batch)
    )
    if not (plain and for_one_cpu() and x.dtype == kernel.dtype == jnp.float32):
        return lax.dot_general(x, kernel, dimension_numbers, **keywords)
    width = math.prod(kernel.shape[:count])
    product = matrix_product(x.reshape(-1, width), kernel.reshape(width, -1))
    return product.reshape(*x.shape[: x.ndim - count], *kernel.shape[count:])


Dense = partial(nn.Dense, dot_general=dense_product)
DenseGeneral = partial(nn.DenseGeneral, dot_general=dense_product)


@jax.custom_vjp
def matrix_product(x: Array, kernel: Array) -> Array:
    """Return x @ kernel of f32[M, K] and f32[K, N]; its gradient is written for a CPU."""
    return x @ kernel


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ kernel, (x, kernel)


def _backward(inputs: tuple[Array, Array], change: Array) -> tuple[Array, Array]:
    """Return the gradients of x and of the kernel; the narrower of x and change is transposed."""
    x, kernel = inputs
    if x.shape[1] <= change.shape[1]:
        of_kernel = lax.optimization_barrier(x.T) @ change
    else:
        of_kernel = lax.optimization_barrier(lax.optimization_barrier(change.T) @ x).T
    return change @ kernel.T, of_kernel


matrix_product.defvjp(_forward, _backward)
