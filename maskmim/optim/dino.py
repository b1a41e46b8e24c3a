"""DINO's optimiser: AdamW whose weight decay rises, with a last layer that waits."""

from __future__ import annotations

import re
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import optax

from maskmim.optim.adam import peak
from maskmim.schedules.warmup import Timed
from maskmim.tree_paths import leaf_path
from maskmim.types import Array, Tree


def adamw_dino(
    schedule: Timed,
    batch_size: int,
    *,
    lr: float = 5e-4,
    lr_per: int = 256,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.04,
    weight_decay_end: float = 0.4,
    no_decay: tuple[str, ...] = (r"(^|/)bias$", r"norm/scale$"),
    clip_norm: float = 3.0,
    late: tuple[str, ...] = (r"(^|/)last/",),
    late_epochs: float = 1.0,
) -> optax.GradientTransformation:
    """AdamW with a weight decay that follows half a cosine over the training.

    schedule, batch_size, lr, lr_per, no_decay: as in `optim.adamw`. Biases and norms are not
                 decayed, lengths of a weight-normalised layer are.
    weight_decay, weight_decay_end: at the first and after the last step.
    clip_norm:   largest norm of the gradient of each array by itself, see `clipped`.
    late, late_epochs: regular expressions of the paths of parameters that stay as they are for so
                 many epochs. They have no moments until then, so that their first update is as
                 large as a first update is.
    Source: DINO (arXiv 2104.14294), main_dino.py and utils.py (clip_gradients,
    cancel_gradients_last_layer, cosine_scheduler), the same in iBOT and AttMask; AdamW of torch.
    """
    span, top = schedule.span, peak(lr, lr_per, batch_size)
    waiting = round(late_epochs * span.per_epoch)

    def init(params: Tree) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(
        gradients: Tree, state: optax.ScaleByAdamState, params: Tree
    ) -> tuple[Tree, optax.ScaleByAdamState]:
        step = state.count
        rate = top * schedule(step)
        falling = 0.5 * (1.0 + jnp.cos(jnp.pi * step / span.steps))
        decay = weight_decay_end + (weight_decay - weight_decay_end) * falling

        def learn(path: tuple, gradient: Array, first: Array, second: Array, param: Array):
            name = leaf_path(path)
            age = step + 1 - (waiting if matches(late, name) else 0)
            awake, age = age > 0, jnp.maximum(age, 1)
            gradient = jnp.where(awake, clipped(name, gradient, clip_norm), 0.0)
            first = b1 * first + (1.0 - b1) * gradient
            second = b2 * second + (1.0 - b2) * gradient**2
            size = jnp.sqrt(second / (1.0 - b2**age)) + eps
            change = first / (1.0 - b1**age) / size
            if not matches(no_decay, name):
                change = change + decay * param
            return jnp.where(awake, -rate * change, 0.0), first, second

        found = jax.tree.map_with_path(learn, gradients, state.mu, state.nu, params)
        updates, first, second = (_part(found, gradients, place) for place in range(3))
        return updates, optax.ScaleByAdamState(step + 1, first, second)

    return optax.GradientTransformation(init, update)


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether any of the regular expressions is found in a path."""
    return any(re.search(pattern, name) for pattern in patterns)


def clipped(name: str, gradient: Array, limit: float) -> Array:
    """The gradient of one array, scaled down where its own norm is above the limit.

    Below 'blocks' the first dimension counts blocks, and every block is an array of its own. With
    an infinite limit nothing is scaled.
    """
    first = 1 if "blocks" in name.split("/") else 0
    axes = tuple(range(first, gradient.ndim))
    norm = jnp.sqrt(jnp.sum(gradient**2, axis=axes, keepdims=True))
    return gradient * jnp.minimum(1.0, limit / (norm + 1e-6))


def _part(found: Tree, like: Tree, place: int) -> Tree:
    """One of the three trees in a tree of triples."""
    return jax.tree.map(lambda _, triple: triple[place], like, found)
