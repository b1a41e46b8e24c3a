"""Sharding constraints on activations: examples, tokens, channels and heads on a device mesh.

Without them the compiler copies the sharding of a parameter to the activations, and every device
computes whole batches. Each function here returns its input with a sharding that the compiler must
keep, see `sharding.on_mesh`; without a mesh, or on a mesh of one device, it does nothing.
Examples are sharded over data and fsdp. Tokens are sharded over `sequence` between attentions;
inside attention heads are (DeepSpeed-Ulysses, arXiv 2309.14509), so that a block costs all-to-alls
of a device's own share only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from maskmim.models.layers.patches import gather
from maskmim.training.sharding import AXES, BATCH_AXES, ShardingError
from maskmim.types import Array

Axes = str | tuple[str, ...] | None


def constrain_examples(x: Array) -> Array:
    """Shard [B, ...] by example: every device has its examples, whole."""
    return _constrain(x, BATCH_AXES)


def constrain_tokens(x: Array) -> Array:
    """Shard [B, n, D] by token: every device has some tokens of its examples, with all channels.

    The compiler pads a length that `sequence` does not divide, so that the last device has fewer
    tokens than the others.
    """
    return _constrain(x, BATCH_AXES, "sequence", uneven=True)


def constrain_channels(x: Array) -> Array:
    """Shard [B, n, D] by channel: every device has all tokens of its examples, some channels.

    Sharded like this, tokens are gathered, scattered and concatenated without communication; one
    all-to-all leads to `constrain_tokens` and back.
    """
    return _constrain(x, BATCH_AXES, None, "sequence")


def constrain_depthwise(x: Array) -> Array:
    """Shard [B, ..., C] by channel, all else whole, around a depthwise convolution.

    No two devices may hold the same channels of an example: compiled with Shardy (jax 0.10.2) the
    gradient of a grouped convolution's kernel is multiplied by the number of devices that do.
    Raises ShardingError where sequence x tensor does not divide the channels.
    """
    sizes = _axis_sizes()
    parts = sizes.get("sequence", 1) * sizes.get("tensor", 1)
    if x.shape[-1] % parts:
        raise ShardingError(
            f"mesh.sequence x mesh.tensor = {parts} does not divide the {x.shape[-1]} channels of "
            "a depthwise convolution: use a divisor, or put the devices on data and fsdp"
        )
    return _constrain(x, BATCH_AXES, *(None,) * (x.ndim - 2), ("sequence", "tensor"))


def embed_tokens(layer: Callable[[Array], Array], x: Array) -> Array:
    """Apply a layer, [B, n, V] -> [B, n, D], sharded by token; shard the result by channel."""
    return constrain_channels(constrain_tokens(layer(constrain_tokens(x))))


def constrain_outputs(x: Array) -> Array:
    """Shard the outputs [B, n, V] of a head: tokens over sequence, values over tensor."""
    return _constrain(x, BATCH_AXES, "sequence", "tensor", uneven=True)


def concat_tokens(*parts: Array) -> Array:
    """Concatenate parts [B, n, D] along their tokens, sharded by channel before and after."""
    return constrain_channels(jnp.concatenate([constrain_channels(part) for part in parts], axis=1))


def split_tokens(x: Array, count: int) -> tuple[Array, Array]:
    """Split [B, n, D], sharded by token, into the first `count` and the others, both by channel."""
    x = constrain_channels(constrain_tokens(x))
    return constrain_channels(x[:, :count]), constrain_channels(x[:, count:])


def select_tokens(x: Array, indices: Array) -> Array:
    """Select tokens as `patches.gather` does, sharded by channel; shard the result by token."""
    return constrain_tokens(constrain_channels(gather(constrain_channels(x), indices)))


def constrain_qkv(query: Array, key: Array, value: Array) -> tuple[Array, Array, Array]:
    """Shard queries, keys and values [B, heads, n, size] by head, with all tokens.

    Where tensor x sequence does not divide the heads, queries stay sharded by token and every
    device gets the keys and values of all tokens. Attention inside windows, which has more
    dimensions, is left to the compiler.
    """
    if query.ndim > 4:
        return query, key, value
    # Constrain the inputs too: their gradients take the same way back.
    query, key, value = (_by_token(x) for x in (query, key, value))
    if _heads_divide(query):
        return tuple(_constrain(x, BATCH_AXES, ("tensor", "sequence")) for x in (query, key, value))
    return query, *(_constrain(x, BATCH_AXES, "tensor") for x in (key, value))


def constrain_attended(mixed: Array) -> Array:
    """Shard the result of attention, [B, heads, n, size], by token again."""
    if mixed.ndim > 4:
        return mixed
    if _heads_divide(mixed):
        mixed = _constrain(mixed, BATCH_AXES, ("tensor", "sequence"))
    return _by_token(mixed)


def batch_shares() -> int:
    """Return over how many devices examples are split on the mesh of this trace, 1 without one."""
    sizes = _axis_sizes()
    return math.prod(sizes.get(axis, 1) for axis in BATCH_AXES)


def _by_token(x: Array) -> Array:
    return _constrain(x, BATCH_AXES, "tensor", "sequence", uneven=True)


def _heads_divide(x: Array) -> bool:
    sizes = _axis_sizes()
    return x.shape[1] % (sizes.get("tensor", 1) * sizes.get("sequence", 1)) == 0


def _axis_sizes() -> dict[str, int]:
    """Return the axes of the mesh of this trace; {} for one device or a mesh with other axes."""
    mesh = jax.sharding.get_abstract_mesh()
    ours = set(mesh.axis_names) <= set(AXES)
    if mesh.size == 1 or not ours or any(kind != AxisType.Auto for kind in mesh.axis_types):
        return {}
    return dict(mesh.shape)


def _constrain(x: Array, *dimension_axes: Axes, uneven: bool = False) -> Array:
    """Shard the first dimensions over the given axes and keep the others whole.

    A dimension that its axes do not divide stays whole, but over 'sequence' with uneven=True.
    """
    sizes = _axis_sizes()
    if not sizes:
        return x
    spec = []
    for axes, length in zip(dimension_axes, x.shape, strict=False):
        axes = (axes,) if isinstance(axes, str) else axes or ()
        axes = tuple(axis for axis in axes if sizes.get(axis, 1) > 1)
        parts = math.prod(sizes[axis] for axis in axes)
        fits = length % parts == 0 or (uneven and axes == ("sequence",) and length > parts)
        spec.append(axes if axes and fits else None)
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*spec))
