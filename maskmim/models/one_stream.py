"""One stream of several: its tokens, its mask and its view, as if it were alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp

from maskmim.models.streams import stream_net
from maskmim.types import Array, Mask, View

Grid = tuple[int, ...]


def token_slice(grids: Mapping[str, Grid], stream: str) -> slice:
    """Return where the tokens of a stream stand among those of all streams."""
    lengths = {name: math.prod(grid) for name, grid in grids.items()}
    before = itertools.takewhile(lambda name: name != stream, lengths)
    start = sum(lengths[name] for name in before)
    return slice(start, start + lengths[stream])


def stream_mask(
    mask: Mask, grids: Mapping[str, Grid], stream: str, *, per_example: bool = False
) -> Mask:
    """Return the mask of one stream, in its own numbers, with every token visible and predicted.

    How many tokens of a stream are hidden differs among examples, so all stand in `predict`, i32[B,
    N_s]; those that are not hidden, or not predicted by `mask`, have the weight 0. All stand in
    `visible` too: `hidden` bool[B, N_s] says whose content is withheld.
    per_example: divide the weights of an example by their sum, so that each example with a weight
                 counts once, however many of its tokens are hidden; one without counts nothing.
    """
    here = token_slice(grids, stream)
    hidden = mask.hidden[:, here]
    weights = jax.vmap(_scatter_weights)(mask.hidden, mask.predict, mask.weight)[:, here]
    weights = jnp.where(hidden, weights, 0.0)
    if per_example:
        total = jnp.sum(weights, axis=1, keepdims=True)
        weights = weights / jnp.where(total > 0, total, 1.0)
    tokens = jnp.broadcast_to(jnp.arange(hidden.shape[1], dtype=jnp.int32), hidden.shape)
    return Mask(tokens, tokens, hidden, weights)


def _scatter_weights(hidden: Array, predict: Array, weight: Array) -> Array:
    """Return the weights f32[N] of all tokens of an example, 0 where none is predicted."""
    return jnp.zeros(hidden.shape, weight.dtype).at[predict].set(weight, mode="promise_in_bounds")


def stream_view(view: View, stream: str, *, per_example: bool = False) -> View:
    """Return what an objective sees of one stream: its network, inputs, grid and mask.

    `encoded`, `outputs`, hints and the batch stay those of all streams. per_example: see
    `stream_mask`.
    """
    return view._replace(
        net=stream_net(view.net, stream),
        context=replace(view.context, grids={stream: view.net.grids[stream]}),
        inputs=view.inputs[stream] if isinstance(view.inputs, Mapping) else view.inputs,
        mask=stream_mask(view.mask, view.net.grids, stream, per_example=per_example),
    )
