"""An optimiser brick that holds some parameters still until a share of the training is done."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from maskmim.config import kinds
from maskmim.config.ranges import AtLeastOne, Fraction, LearningRate, NonNegativeInt, Pattern
from maskmim.errors import UserError
from maskmim.optim.path_rules import matches
from maskmim.schedules.warmup import Timed
from maskmim.tree_paths import named_leaves
from maskmim.types import Array, Tree


class FrozenError(UserError, ValueError):
    """Patterns that name no parameter."""


class LateState(NamedTuple):
    """The state of an optimiser that begins late: i32[] steps so far, and its own state."""

    step: Array
    inner: Tree


class FrozenState(NamedTuple):
    """The states of the optimisers of moving and of held parameters; () for held for good.

    Each has zeros along the first axis in place of each of the other's parameters: so it has the
    tree of all, and blocks keep their number. Checkpoints hold no empty arrays.
    """

    moving: Tree
    held: Tree


def frozen_until(
    schedule: Timed,
    batch_size: int,
    *,
    optimiser: Annotated[Callable[..., Any], kinds.OPTIMISER],
    paths: Annotated[tuple[Pattern, ...], AtLeastOne()],
    until: Fraction,
    lr: LearningRate,
    lr_per: NonNegativeInt = 256,
) -> optax.GradientTransformationExtraArgs:
    """Build another optimiser that holds parameters still until a share of the training is done.

    optimiser: the brick of the wrapped optimiser, which gets lr and lr_per.
    paths:     patterns of the paths of parameters that are held, such as '^encoder/'.
    until:     share of the training; 1 freezes them for good, and keeps no moments of them.
    A held parameter keeps every bit: it gets no update and no weight decay, and its moments start
    with its first update, as does their bias correction. Its learning rate then is that of the
    schedule at that step. Held and moving parameters have an optimiser each, so that `clip_norm`
    is of the norm of each group. Optax's `partition` has no group that begins late, and its states
    have not the tree of the parameters, which sharding goes by.
    Linear probe, then fine-tuning: paths=('^encoder/',), until=0.2. The network is still
    differentiated as a whole.
    Its `init` raises FrozenError for a pattern that matches no parameter, which would freeze less
    than was asked.
    """
    steps = round(until * schedule.span.steps)

    def make(start: int) -> optax.GradientTransformationExtraArgs:
        shifted = Timed(schedule.span, lambda step: schedule(step + start))
        made = optimiser(shifted, batch_size, lr=lr, lr_per=lr_per)
        return optax.with_extra_args_support(made)

    moving = make(0)
    late = None if until == 1 else begin_late(make(steps), steps)

    def part(tree: Tree, held: bool) -> Tree:
        """Return the leaves of a group, and zeros in place of the others, see `FrozenState`."""

        def leaf(path: tuple, x: Array) -> Array:
            unused = x.shape[:1] if x.ndim > 1 else 1
            return x if matches(paths, path) == held else jnp.zeros(unused, x.dtype)

        return jax.tree.map_with_path(leaf, tree)

    def init(params: Tree) -> FrozenState:
        _check_paths(paths, params)
        first = moving.init(part(params, held=False))
        return FrozenState(first, late.init(part(params, held=True)) if late else ())

    def update(
        gradients: Tree, state: FrozenState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, FrozenState]:
        free, first = moving.update(
            part(gradients, held=False), state.moving, part(params, held=False), **extra
        )
        kept, second = jax.tree.map(jnp.zeros_like, gradients), state.held
        if late:
            kept, second = late.update(
                part(gradients, held=True), state.held, part(params, held=True), **extra
            )
        updates = jax.tree.map_with_path(
            lambda path, a, b: b if matches(paths, path) else a, free, kept
        )
        return updates, FrozenState(first, second)

    return optax.GradientTransformationExtraArgs(init, update)


def _check_paths(paths: tuple[str, ...], params: Tree) -> None:
    """Raise FrozenError for a pattern that matches none of the parameters."""
    names = [name for name, _ in named_leaves(params)]
    for pattern in paths:
        # Optax's tree_map_params calls `init` with a placeholder that has no leaves.
        if names and not any(re.search(pattern, name) for name in names):
            few = ", ".join(names[:: max(1, len(names) // 3)][:3])
            raise FrozenError(
                f"frozen_until: the pattern {pattern!r} of `paths` matches none of the "
                f"{len(names)} parameters, so it freezes nothing; some of their names are {few}"
            )


def begin_late(
    inner: optax.GradientTransformation, start: int
) -> optax.GradientTransformationExtraArgs:
    """Return an optimiser that gives updates of 0 and keeps its state for its first `start` steps.

    start: number of steps; `inner` counts from 0 behind them.
    """
    late = optax.with_extra_args_support(inner)

    def init(params: Tree) -> LateState:
        return LateState(jnp.zeros((), jnp.int32), late.init(params))

    def update(
        updates: Tree, state: LateState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, LateState]:
        begun = state.step >= start
        new, kept = late.update(updates, state.inner, params, **extra)
        new = jax.tree.map(lambda x: jnp.where(begun, x, jnp.zeros_like(x)), new)
        kept = jax.tree.map(lambda a, b: jnp.where(begun, a, b), kept, state.inner)
        return new, LateState(state.step + 1, kept)

    return optax.GradientTransformationExtraArgs(init, update)
