"""DINO's optimiser: AdamW with a rising weight decay and a last layer that is frozen at first."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from maskmim.config.ranges import (
    FractionBelowOne,
    LearningRate,
    NonNegative,
    NonNegativeInt,
    Pattern,
    Positive,
    PositiveOrInf,
)
from maskmim.optim.compose import decay_of_step, peak_learning_rate
from maskmim.optim.path_rules import add_decayed_weights, axes_of_array, matches
from maskmim.schedules.warmup import Timed
from maskmim.tree_paths import leaf_path
from maskmim.types import Array, Tree


def adamw_dino(
    schedule: Timed,
    batch_size: int,
    *,
    lr: LearningRate = 5e-4,
    lr_per: NonNegativeInt = 256,
    b1: FractionBelowOne = 0.9,
    b2: FractionBelowOne = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.04,
    weight_decay_end: NonNegative = 0.4,
    stretch: Positive = 1.0,
    no_decay: tuple[Pattern, ...] = (r"(^|/)bias$", r"norm/scale$"),
    clip_norm: PositiveOrInf = 3.0,
    late: tuple[Pattern, ...] = (r"(^|/)last/",),
    late_epochs: NonNegative = 1.0,
) -> optax.GradientTransformation:
    """Build AdamW with a weight decay that follows half a cosine over the training.

    schedule, batch_size, lr, lr_per, no_decay: as in `optim.adamw`. Biases and norms are not
                 decayed, lengths of a weight-normalised layer are.
    weight_decay, weight_decay_end: at the first and after the last step.
    stretch:     of the weight decay, as of `schedules.warmup_cosine`.
    clip_norm:   largest norm of the gradient of each array by itself, see `clip_array`.
    late, late_epochs: patterns of the paths of parameters that are frozen for the first
                 late_epochs. Their moments and their bias correction start after that.
    Source: DINO (arXiv 2104.14294), main_dino.py and utils.py (clip_gradients,
    cancel_gradients_last_layer, cosine_scheduler), the same in iBOT and AttMask; AdamW of torch.
    """
    span = schedule.span
    peak = peak_learning_rate(lr, lr_per, batch_size)
    frozen_steps = round(late_epochs * span.per_epoch)
    decay_factors = tuple((pattern, 0.0) for pattern in no_decay)

    def init(params: Tree) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(
        gradients: Tree, state: optax.ScaleByAdamState, params: Tree
    ) -> tuple[Tree, optax.ScaleByAdamState]:
        step = state.count
        learning_rate = peak * schedule(step)
        decay = decay_of_step(step, span, start=weight_decay, end=weight_decay_end, stretch=stretch)

        def updates_made(path: tuple) -> Array:
            """Return i32[] how many updates an array has had with this one, 0 or less if frozen."""
            return step + 1 - (frozen_steps if matches(late, path) else 0)

        def clip(path: tuple, gradient: Array) -> Array:
            clipped = clip_array(leaf_path(path), gradient, clip_norm)
            return jnp.where(updates_made(path) > 0, clipped, 0.0)

        def direction(path: tuple, mu: Array, nu: Array) -> Array:
            count = jnp.maximum(updates_made(path), 1).astype(jnp.float32)
            return mu / (1.0 - b1**count) / (jnp.sqrt(nu / (1.0 - b2**count)) + eps)

        def scale(path: tuple, update: Array) -> Array:
            return jnp.where(updates_made(path) > 0, -learning_rate * update, 0.0)

        gradients = jax.tree.map_with_path(clip, gradients)
        # Not optax.scale_by_adam, whose order of the summands rounds differently.
        mu = jax.tree.map(lambda m, g: b1 * m + (1.0 - b1) * g, state.mu, gradients)
        nu = jax.tree.map(lambda n, g: b2 * n + (1.0 - b2) * g**2, state.nu, gradients)
        updates = jax.tree.map_with_path(direction, mu, nu)
        updates = add_decayed_weights(updates, params, decay, decay_factors)
        updates = jax.tree.map_with_path(scale, updates)
        return updates, optax.ScaleByAdamState(step + 1, mu, nu)

    return optax.GradientTransformation(init, update)


def clip_array(name: str, gradient: Array, limit: float) -> Array:
    """Scale the gradient of one array down to the norm `limit` if its norm is above.

    name: the path of the array. Below 'blocks' the first dimension counts blocks, and each block is
    clipped separately. An infinite limit scales nothing.
    """
    axes = axes_of_array(name, gradient)
    norm = jnp.sqrt(jnp.sum(gradient**2, axis=axes, keepdims=True))
    return gradient * jnp.minimum(1.0, limit / (norm + 1e-6))
