"""Leaving out updates whose loss or gradient is far above what it has been: an optimiser brick."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from maskmim.schedules.warmup import Timed
from maskmim.types import Array, Tree


class SpikesState(NamedTuple):
    """What the judgement remembers; it is saved with the optimiser's state.

    losses, norms: f32[window] of the last finite steps, in a ring.
    seen:          i32[] how many there have been.
    spike:         bool[] whether the last update was left out.
    inner:         the state of the optimiser inside.
    """

    losses: Array
    norms: Array
    seen: Array
    spike: Array
    inner: Tree


def without_spikes(
    schedule: Timed,
    batch_size: int,
    *,
    optimiser: Any,
    lr: float,
    lr_per: int = 256,
    loss_factor: float = 2.0,
    norm_factor: float = 5.0,
    window: int = 128,
) -> optax.GradientTransformationExtraArgs:
    """Another optimiser, without the updates of steps whose loss or gradient norm is a spike.

    optimiser:   the brick inside, which gets lr and lr_per.
    loss_factor, norm_factor: a step is a spike where its loss or global gradient norm is more than
                 so many times the median of the last `window` finite steps, spikes included: a
                 level that stays high is the new level after half a window. inf never judges.
    Judges from step `window` on. An update left out changes no parameter and nothing that the
    optimiser inside keeps; the train step leaves `extra` as it was, too. What is judged depends on
    the state alone, so a resumed run decides alike. Optax has a fixed bound for such steps
    (`skip_large_updates`) and none that follows the training.
    """
    inside = optax.with_extra_args_support(optimiser(schedule, batch_size, lr=lr, lr_per=lr_per))

    def init(params: Tree) -> SpikesState:
        ring = jnp.zeros(window, jnp.float32)
        nothing = jnp.zeros((), jnp.int32)
        return SpikesState(ring, ring, nothing, jnp.zeros((), bool), inside.init(params))

    def update(
        grads: Tree, state: SpikesState, params: Tree = None, *, value: Array, **extra: Any
    ) -> tuple[Tree, SpikesState]:
        norm = optax.tree.norm(grads).astype(jnp.float32)
        above = (value > loss_factor * jnp.median(state.losses)) | (
            norm > norm_factor * jnp.median(state.norms)
        )
        spike = above & (state.seen >= window)
        updates, inner = inside.update(grads, state.inner, params, value=value, **extra)
        updates = jax.tree.map(lambda x: jnp.where(spike, jnp.zeros_like(x), x), updates)
        inner = jax.tree.map(lambda a, b: jnp.where(spike, b, a), inner, state.inner)
        place = state.seen % window
        losses = state.losses.at[place].set(value.astype(jnp.float32))
        norms = state.norms.at[place].set(norm)
        return updates, SpikesState(losses, norms, state.seen + 1, spike, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def left_out(opt_state: Tree) -> Array | None:
    """bool[] whether an optimiser's last update was left out; None without such an optimiser."""
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, SpikesState))
    return next((node.spike for node in nodes if isinstance(node, SpikesState)), None)
