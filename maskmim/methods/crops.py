"""Crops of a picture, as methods of self-distillation take them: masked large ones, small ones."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from maskmim.models.net import array_of
from maskmim.models.other_size import resize_net
from maskmim.types import Array, Batch, Encoded, Net, Randomness, Spec, Tree, Variables


def crop_randomness(randomness: Randomness, crops: int) -> Randomness:
    """Return randomness with a slot for each of an example's crops; shared draws stay shared."""
    slots = randomness.slots[:, None] * crops + jnp.arange(crops, dtype=jnp.uint32)[None]
    return randomness._replace(slots=slots.reshape(-1))


def as_pictures(spec: Spec, crops: Array) -> Batch:
    """Return crops u8[B, V, H, W, C] as a batch of pictures {stream: u8[B * V, H, W, C]}."""
    return {spec.stream: crops.reshape(-1, *crops.shape[2:])}


def by_example(array: Array, crops: int) -> Array:
    """Split the first axis: [B * crops, ...] -> [B, crops, ...]."""
    return array.reshape(-1, crops, *array.shape[1:])


def whole_pictures(spec: Spec, batch: Batch, crop: int = 0) -> Batch:
    """Return the pictures of an evaluation batch, or one large crop each of a training batch."""
    stream = spec.stream
    return {stream: batch[stream] if stream in batch else array_of(batch, "global")[:, crop]}


def encode_small(
    model: Callable[[Spec], Net],
    spec: Spec,
    params: Tree,
    crops: Array,
    randomness: Randomness,
    **resizing: Callable[..., Array],
) -> tuple[Net, Encoded]:
    """Encode whole small crops u8[B, L, h, w, C] by the network of their size.

    model: brick, spec -> Net; spec: of the large crops, whose network has the params.
    resizing: `resize` of learned positions, see `other_size.resize_net`.
    Returns the network of the small crops, and what it makes of the B * L crops.
    """
    net = resize_net(model, spec, crops.shape[2:-1], **resizing)
    inputs = net.inputs(as_pictures(spec, crops))
    own = crop_randomness(randomness, crops.shape[1]).inside("local")
    return net, net.encode(params, inputs, None, randomness=own)


def encode_student(
    net: Net, variables: Variables, batch: Batch, *, capture: tuple[str, ...] = ()
) -> Encoded:
    """Return what the student makes of whole pictures, as `Apply` says of 'encode'."""
    return net.encode(variables.params, net.inputs(batch), None, capture=capture)


def encode_teacher(
    net: Net, variables: Variables, batch: Batch, *, capture: tuple[str, ...] = ()
) -> Encoded:
    """Return what `encode_student` does, with the averages of `extra['teacher']` as weights."""
    averaged = {**variables.params, **variables.extra["teacher"]}
    return encode_student(net, variables._replace(params=averaged), batch, capture=capture)
