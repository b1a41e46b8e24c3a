"""Mean and deviation of maps of features and of amounts, by which heads are trained alike."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from maskmim.evals.dense.problem import FrozenEncoder, Problem
from maskmim.evals.features import Unsuitable
from maskmim.evals.trained import put_everywhere
from maskmim.models.dense_heads import Maps
from maskmim.types import Array, Tree

EPSILON = 1e-6


class Moments(NamedTuple):
    """Mean and deviation of each channel of each map, f32[D], and of amounts, f32[].

    Of classes the last two are 0 and 1.
    """

    means: Maps
    deviations: Maps
    mean: np.ndarray
    deviation: np.ndarray

    def standardised(self, maps: Maps) -> Maps:
        """Return maps whose channels have mean 0 and deviation 1."""
        parts = zip(maps, self.means, self.deviations, strict=True)
        return tuple((each - mean) / deviation for each, mean, deviation in parts)


def moments_of(
    problem: Problem, encoder: FrozenEncoder, *, batch_size: int, batches: int, seed: int
) -> Moments:
    """Return the moments of the first batches of crops, joined in float64.

    Raises Unsuitable for amounts without a value above 0.
    """
    program, found, amounts = _program(encoder.maps), [], []
    for pictures, targets in itertools.islice(problem.crops(batch_size, seed), batches):
        found.append(program(encoder.variables, put_everywhere(pictures, problem.mesh)))
        amounts.append(targets[targets > 0])
    parts = [_joined([batch[level] for batch in found]) for level in range(len(found[0]))]
    mean, deviation = np.float32(0), np.float32(1)
    if problem.task.is_amount:
        values = np.concatenate(amounts)
        if not len(values):
            raise Unsuitable("no map has an amount above 0: look at data.decode of this evaluation")
        mean, deviation = np.float32(values.mean()), np.float32(values.std() + EPSILON)
    means, deviations = zip(*parts, strict=True)
    return Moments(means, deviations, mean, deviation)


@functools.lru_cache(maxsize=4)
def _program(maps: Callable[[Tree, Array], Maps]) -> Callable[..., list]:
    """Return a program: (variables, pictures) -> mean and variance of each map."""

    def moments(variables: Tree, pictures: Array) -> list:
        flat = [each.reshape(-1, each.shape[-1]) for each in maps(variables, pictures)]
        return [(each.mean(axis=0), each.var(axis=0)) for each in flat]

    return jax.jit(moments)


def _joined(batches: list) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation f32[D] over equally large batches of (mean, variance)."""
    means, variances = (np.asarray(each, np.float64) for each in zip(*batches, strict=True))
    variance = variances.mean(axis=0) + means.var(axis=0)
    return means.mean(axis=0).astype("f4"), np.sqrt(variance + EPSILON).astype("f4")
