"""An optimiser brick that skips updates whose loss or gradient norm is far above the usual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from maskmim.config import kinds
from maskmim.config.ranges import LearningRate, NonNegativeInt, PositiveInt, PositiveOrInf
from maskmim.schedules.warmup import Timed
from maskmim.types import Array, Tree


class SpikesState(NamedTuple):
    """The state of `without_spikes`, saved with the optimiser's state.

    losses, norms: f32[window] of the last finite steps, as ring buffers.
    seen:          i32[] the number of finite steps so far.
    spike:         bool[] whether the last update was skipped.
    inner:         the state of the wrapped optimiser.
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
    optimiser: Annotated[Callable[..., Any], kinds.OPTIMISER],
    lr: LearningRate,
    lr_per: NonNegativeInt = 256,
    loss_factor: PositiveOrInf = 2.0,
    norm_factor: PositiveOrInf = 5.0,
    window: PositiveInt = 128,
) -> optax.GradientTransformationExtraArgs:
    """Build another optimiser that skips the updates of steps whose loss or gradient norm spikes.

    optimiser:   the brick of the wrapped optimiser, which gets lr and lr_per.
    loss_factor, norm_factor: a step is a spike if its loss or global gradient norm is more than
                 this many times the median of the last `window` finite steps, spikes included: a
                 level that stays high is the new level after half a window. inf disables the test.
    No step before step `window` is a spike. A skipped update changes neither parameters nor the
    wrapped optimiser's state; the train step leaves `extra` as it was, too. The test depends on
    the state alone, so a resumed run decides alike. Optax has a fixed bound for such steps
    (`skip_large_updates`) and none that follows the training.
    """
    wrapped = optax.with_extra_args_support(optimiser(schedule, batch_size, lr=lr, lr_per=lr_per))

    def init(params: Tree) -> SpikesState:
        ring = jnp.zeros(window, jnp.float32)
        seen = jnp.zeros((), jnp.int32)
        return SpikesState(ring, ring, seen, jnp.zeros((), bool), wrapped.init(params))

    def update(
        grads: Tree, state: SpikesState, params: Tree = None, *, value: Array, **extra: Any
    ) -> tuple[Tree, SpikesState]:
        norm = optax.tree.norm(grads).astype(jnp.float32)
        above = (value > loss_factor * jnp.median(state.losses)) | (
            norm > norm_factor * jnp.median(state.norms)
        )
        spike = above & (state.seen >= window)
        updates, inner = wrapped.update(grads, state.inner, params, value=value, **extra)
        updates = jax.tree.map(lambda x: jnp.where(spike, jnp.zeros_like(x), x), updates)
        inner = jax.tree.map(lambda a, b: jnp.where(spike, b, a), inner, state.inner)
        oldest = state.seen % window
        losses = state.losses.at[oldest].set(value.astype(jnp.float32))
        norms = state.norms.at[oldest].set(norm)
        return updates, SpikesState(losses, norms, state.seen + 1, spike, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def last_update_skipped(opt_state: Tree) -> Array | None:
    """Return bool[] whether the last update was skipped, None without `without_spikes`."""
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, SpikesState))
    return next((node.spike for node in nodes if isinstance(node, SpikesState)), None)
