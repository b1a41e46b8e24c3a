"""The generic method with a mask ratio that changes over training, in a few static shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import jax

from maskmim.config.describe import title
from maskmim.config.returned import returned
from maskmim.masks.growth import Buckets
from maskmim.methods.masked import masked
from maskmim.types import (
    Array,
    Batch,
    LearnedFunction,
    Losses,
    Mask,
    Method,
    Net,
    Objective,
    Randomness,
    Spec,
    Teacher,
    Variables,
)


def masked_in_buckets(
    spec: Spec,
    *,
    model: Callable[[Spec], Net],
    mask: Callable[..., Mask],
    objectives: Mapping[str, Callable[[], Objective]],
    teachers: Mapping[str, Callable[[], Teacher]],
    buckets: Callable[[], Buckets],
    calls: Mapping[str, Callable[[int], LearnedFunction]] = {},
) -> Method:
    """Compose masked modelling whose mask ratio follows the progress of training.

    model, objectives, teachers, calls: as `methods.masked`.
    mask:    a sampler brick with a `ratio`, which the current bucket's ratio replaces.
    buckets: brick () -> Buckets, see `masks.growth`.

    One step is compiled, with a branch for each ratio, and one branch runs: a step costs what its
    ratio costs, and nothing is compiled later. Evaluators and pictures use the last ratio.
    Source: LMD (row 28), whose ratio changes from step to step, a new shape each time.
    """
    schedule = returned(buckets(), Buckets, "buckets.brick", buckets)
    rest = {"model": model, "objectives": objectives, "teachers": teachers, "calls": calls}
    methods = [masked(spec, mask=partial(mask, ratio=ratio), **rest) for ratio in schedule.ratios]
    last = methods[-1]
    ratios = ", ".join(f"{ratio:.2f}" for ratio in schedule.ratios)
    line = ("mask ratio", f"{ratios} in turn, {title(buckets)}")
    return last._replace(loss=partial(_loss, tuple(methods), schedule), chain=(*last.chain, line))


def _loss(
    methods: tuple[Method, ...],
    buckets: Buckets,
    variables: Variables,
    batch: Batch,
    randomness: Randomness,
    progress: Array,
) -> Losses:
    def branch(method: Method):
        def sums(variables: Variables, batch: Batch, randomness: Randomness) -> tuple:
            losses = method.loss(variables, batch, randomness, progress)
            return losses.terms, losses.metrics, losses.carry

        return sums

    branches = [branch(method) for method in methods]
    number = buckets.number(progress)
    terms, metrics, carry = jax.lax.switch(number, branches, variables, dict(batch), randomness)
    return Losses(terms, _term_scales(methods[0], variables, batch, randomness), metrics, carry)


def _term_scales(
    method: Method, variables: Variables, batch: Batch, randomness: Randomness
) -> Mapping[str, float]:
    """Return the factors of the terms, which are static and so cannot leave a traced branch."""
    scales = {}

    def trace() -> None:
        scales.update(method.loss(variables, batch, randomness, 0.0).scales)

    jax.eval_shape(trace)
    return scales
