"""Where activations lie on a mesh, pinned: examples, tokens, channels and heads.

Left to itself the compiler spreads the split of a parameter to the activations, and then works off
whole batches on every device. Each function here returns its input with a place that the compiler
must keep, see `sharding.on_mesh`; without a mesh, or on one of a single device, it does nothing.
Examples lie over data and fsdp. Tokens lie over `sequence` between attentions; inside, heads do
(DeepSpeed-Ulysses, arXiv 2309.14509), so that a block costs all-to-alls of its own share.
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


def examples(x: Array) -> Array:
    """[B, ...]: every device has its examples, whole."""
    return _pinned(x, BATCH_AXES)


def tokens(x: Array) -> Array:
    """[B, n, D]: every device has some tokens of its examples, with all channels.

    A length that `sequence` does not divide is filled up by the compiler, so that the last device
    has fewer tokens than the others.
    """
    return _pinned(x, BATCH_AXES, "sequence", uneven=True)


def channels(x: Array) -> Array:
    """[B, n, D]: every device has all tokens of its examples, with some channels.

    In this place tokens are gathered, scattered and joined without talking to other devices, and
    one all-to-all leads to `tokens` and back.
    """
    return _pinned(x, BATCH_AXES, None, "sequence")


def by_channel(x: Array) -> Array:
    """[B, ..., C] around a depthwise convolution: every device has some channels, all else whole.

    No two devices may hold the same: compiled with Shardy (jax 0.10.2) the gradient of the kernel
    of a grouped convolution comes out multiplied by the number of devices that do.
    Raises ShardingError where sequence x tensor does not divide the channels.
    """
    sizes = _sizes()
    parts = sizes.get("sequence", 1) * sizes.get("tensor", 1)
    if x.shape[-1] % parts:
        raise ShardingError(
            f"mesh.sequence x mesh.tensor = {parts} does not divide the {x.shape[-1]} channels of "
            "a depthwise convolution: use a divisor, or spread the devices over data and fsdp"
        )
    return _pinned(x, BATCH_AXES, *(None,) * (x.ndim - 2), ("sequence", "tensor"))


def embedded(layer: Callable[[Array], Array], x: Array) -> Array:
    """[B, n, V] -> [B, n, D] by a layer on each token: as `tokens` through it, then `channels`."""
    return channels(tokens(layer(tokens(x))))


def values(x: Array) -> Array:
    """What a head gives, [B, n, V]: split as tokens are, and its values over tensor."""
    return _pinned(x, BATCH_AXES, "sequence", "tensor", uneven=True)


def joined(*parts: Array) -> Array:
    """[B, n, D] of several n, in the place of channels, one behind the other in the same place."""
    return channels(jnp.concatenate([channels(part) for part in parts], axis=1))


def parted(x: Array, count: int) -> tuple[Array, Array]:
    """[B, n, D] in the place of tokens: the first `count` and the others, in that of channels."""
    x = channels(tokens(x))
    return channels(x[:, :count]), channels(x[:, count:])


def chosen(x: Array, places: Array) -> Array:
    """`patches.gather` of tokens in the place of channels; what it finds is in that of tokens."""
    return tokens(channels(gather(channels(x), places)))


def for_attention(query: Array, key: Array, value: Array) -> tuple[Array, Array, Array]:
    """[B, heads, n, size] each: every device has some heads, with all tokens.

    Where the heads do not divide over tensor and sequence, queries stay split by token and every
    device gets the keys and values of all tokens. Attention inside windows, which has more
    dimensions, is left to the compiler.
    """
    if query.ndim > 4:
        return query, key, value
    # Pinned as they come too, as gradients go back the same way.
    query, key, value = (_by_token(x) for x in (query, key, value))
    if _heads_divide(query):
        return tuple(_pinned(x, BATCH_AXES, ("tensor", "sequence")) for x in (query, key, value))
    return query, *(_pinned(x, BATCH_AXES, "tensor") for x in (key, value))


def from_attention(mixed: Array) -> Array:
    """What attention gave, [B, heads, n, size], back in the place of tokens."""
    if mixed.ndim > 4:
        return mixed
    if _heads_divide(mixed):
        mixed = _pinned(mixed, BATCH_AXES, ("tensor", "sequence"))
    return _by_token(mixed)


def _by_token(x: Array) -> Array:
    return _pinned(x, BATCH_AXES, "tensor", "sequence", uneven=True)


def _heads_divide(x: Array) -> bool:
    sizes = _sizes()
    return x.shape[1] % (sizes.get("tensor", 1) * sizes.get("sequence", 1)) == 0


def _sizes() -> dict[str, int]:
    """Axes of the mesh around this trace; {} where it is none of ours, or has one device."""
    mesh = jax.sharding.get_abstract_mesh()
    ours = set(mesh.axis_names) <= set(AXES)
    if mesh.size == 1 or not ours or any(kind != AxisType.Auto for kind in mesh.axis_types):
        return {}
    return dict(mesh.shape)


def _pinned(x: Array, *places: Axes, uneven: bool = False) -> Array:
    """An array with the given axes along its first dimensions and whole along the others.

    uneven: allows it along the dimension of 'sequence'; elsewhere what an axis does not divide
    stays whole.
    """
    sizes = _sizes()
    if not sizes:
        return x
    kept = []
    for axes, length in zip(places, x.shape, strict=False):
        axes = (axes,) if isinstance(axes, str) else axes or ()
        axes = tuple(axis for axis in axes if sizes.get(axis, 1) > 1)
        parts = math.prod(sizes[axis] for axis in axes)
        fits = length % parts == 0 or (uneven and axes == ("sequence",) and length > parts)
        kept.append(axes if axes and fits else None)
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*kept))
