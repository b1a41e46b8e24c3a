"""Muon: momentum whose matrices are made orthogonal, and Adam for everything else."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container
from functools import partial

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, MuonState, scale_by_muon

from maskmim.config.ranges import (
    FractionBelowOne,
    LearningRate,
    NonNegative,
    NonNegativeInt,
    Pattern,
    Positive,
    PositiveInt,
    PositiveOrInf,
)
from maskmim.optim.compose import NO_DECAY, compose, decay_weights
from maskmim.optim.path_rules import Factors
from maskmim.schedules.warmup import Timed
from maskmim.tree_paths import leaf_path, named_leaves
from maskmim.types import Array, Tree

# Axes of the inputs and of the outputs of kernels of stacked blocks, whose first axis counts
# blocks; other axes, as that of query, key and value, count matrices. The first match wins.
MATRICES = (
    (r"blocks/.*(qkv|kv)/kernel$", 5, (1,), (3, 4)),
    (r"blocks/.*(query|key|value)/kernel$", 4, (1,), (2, 3)),
    (r"blocks/.*out/kernel$", 4, (1, 2), (3,)),
    (r"blocks/.*kernel$", 3, (1,), (2,)),
)


def muon(
    schedule: Timed,
    batch_size: int,
    *,
    lr: LearningRate = 1.5e-4,
    lr_per: NonNegativeInt = 256,
    momentum: FractionBelowOne = 0.95,
    newton_schulz: PositiveInt = 5,
    update_size: Positive = 0.2,
    b1: FractionBelowOne = 0.9,
    b2: FractionBelowOne = 0.95,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.05,
    no_decay: tuple[Pattern, ...] = NO_DECAY,
    rates: Factors = (),
    clip_norm: PositiveOrInf = float("inf"),
) -> optax.GradientTransformation:
    """Build Muon for the matrices of the blocks, at the learning rates of AdamW.

    momentum:      of the matrices, with Nesterov's look ahead.
    newton_schulz: rounds of the iteration that makes the momentum orthogonal.
    update_size:   root mean square of a matrix's update before the learning rate; 0.2 is AdamW's.
    b1, b2, eps:   of Adam, with Nesterov's look ahead, for embeddings, heads, tokens, biases and
                   norms: all that are not matrices of blocks, see `MATRICES`.
    Other keywords are those of every optimiser, see `compose.compose`; no_decay as in `adamw`.
    Each block, and each of query, key and value, is a matrix of its own; heads are not.
    Source: Muon (K. Jordan, 2024, github.com/KellerJordan/Muon), with the size of updates and the
    weight decay of Moonlight (arXiv 2502.16982), by `optax.contrib.scale_by_muon`.
    """
    return compose(
        _direction(
            partial(scale_by_muon, ns_steps=newton_schulz, beta=momentum, eps=eps),
            optax.scale_by_adam(b1, b2, eps, nesterov=True),
            update_size,
        ),
        decay_weights(weight_decay, no_decay),
        schedule=schedule,
        batch_size=batch_size,
        lr=lr,
        lr_per=lr_per,
        rates=rates,
        clip_norm=clip_norm,
    )


def _direction(
    muon_of: Callable[..., optax.GradientTransformation],
    adam: optax.GradientTransformation,
    size: float,
) -> optax.GradientTransformation:
    """Return Muon for matrices of blocks, at root mean square `size`, and Adam for the rest.

    muon_of: weight_dimension_numbers -> Muon. The state is Adam's, with one unused number in place
    of a matrix's second moments.
    """

    def init(params: Tree) -> optax.ScaleByAdamState:
        def second(path: tuple, param: Array) -> Array:
            return jnp.zeros(1 if axes_of_matrix(path, param) else param.shape, jnp.float32)

        first = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(
            jnp.zeros((), jnp.int32), first, jax.tree.map_with_path(second, params)
        )

    def update(
        gradients: Tree, state: optax.ScaleByAdamState, params: Tree = None
    ) -> tuple[Tree, optax.ScaleByAdamState]:
        axes = {
            leaf_path(path): axes_of_matrix(path, gradient)
            for path, gradient in jax.tree.leaves_with_path(gradients)
        }
        matrices = {name: axis for name, axis in axes.items() if axis}
        core = muon_of(weight_dimension_numbers=matrices)
        inner = MuonState(state.count, _pick(state.mu, matrices), core.init({}).ns_coeffs)
        steps, inner = core.update(_pick(gradients, matrices), inner)
        steps = {n: _sized(step, matrices[n], size) for n, step in steps.items()}
        rest = axes.keys() - matrices
        moments = state._replace(mu=_pick(state.mu, rest), nu=_pick(state.nu, rest))
        others, moments = adam.update(_pick(gradients, rest), moments)
        return _put(gradients, {**steps, **others}), optax.ScaleByAdamState(
            moments.count,
            _put(state.mu, {**inner.mu, **moments.mu}),
            _put(state.nu, moments.nu),
        )

    return optax.GradientTransformation(init, update)


def axes_of_matrix(path: tuple, array: Array) -> MuonDimensionNumbers | None:
    """Return the axes of the inputs and outputs of a block's matrices, None for other arrays."""
    name = leaf_path(path)
    for pattern, axes, inputs, outputs in MATRICES:
        if array.ndim == axes and re.search(pattern, name):
            return MuonDimensionNumbers(inputs, outputs)
    return None


def _sized(step: Array, axes: MuonDimensionNumbers, size: float) -> Array:
    """Scale an orthogonal step of any shape to a root mean square of `size`."""
    sides = (math.prod(step.shape[i] for i in side) for side in axes)
    return step * (size * math.sqrt(max(sides)))


def _pick(tree: Tree, names: Container[str]) -> dict[str, Array]:
    """Return the arrays of some paths, by path."""
    return {name: leaf for name, leaf in named_leaves(tree) if name in names}


def _put(tree: Tree, arrays: dict[str, Array]) -> Tree:
    """Return a tree with the arrays of some paths replaced."""
    return jax.tree.map_with_path(lambda path, leaf: arrays.get(leaf_path(path), leaf), tree)
