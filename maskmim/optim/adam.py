"""Optimisers as bricks: `(schedule, batch_size, *, hyperparameters) -> optax transformation`."""

from __future__ import annotations

import re

import jax
import optax

from maskmim.schedules.warmup import Timed
from maskmim.tree_paths import leaf_path
from maskmim.types import Tree


def peak(lr: float, lr_per: int, batch_size: int) -> float:
    """The peak learning rate: `lr` is meant per `lr_per` examples, or absolute where that is 0."""
    return lr * batch_size / lr_per if lr_per else lr


def adamw(
    schedule: Timed,
    batch_size: int,
    *,
    lr: float = 1.5e-4,
    lr_per: int = 256,
    b1: float = 0.9,
    b2: float = 0.95,
    eps: float = 1e-8,
    weight_decay: float = 0.05,
    no_decay: tuple[str, ...] = (r"(^|/)(bias|scale|positions)$",),
    clip_norm: float = float("inf"),
) -> optax.GradientTransformation:
    """AdamW with the learning rate scaled to the effective batch.

    schedule:   step -> factor in [0, 1] of the peak rate.
    batch_size: the effective batch, over all devices and micro-batches.
    lr, lr_per: the peak rate is lr * batch_size / lr_per; lr_per = 0 makes lr absolute.
    no_decay:   regular expressions of parameter paths that are not decayed. As in MAE biases and
                norms are exempt, class and mask tokens are not (timm's rule exempts 1-D arrays; its
                tokens have three dimensions).
    clip_norm:  global gradient norm above which gradients are scaled down; inf never does.
    """
    top = peak(lr, lr_per, batch_size)

    def decays(params: Tree) -> Tree:
        return jax.tree.map_with_path(lambda path, _: not _matches(no_decay, path), params)

    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.adamw(
            lambda step: top * schedule(step), b1, b2, eps, weight_decay=weight_decay, mask=decays
        ),
    )


def _matches(patterns: tuple[str, ...], path: tuple) -> bool:
    return any(re.search(pattern, leaf_path(path)) for pattern in patterns)
