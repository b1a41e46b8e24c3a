"""The generic composition with a mask ratio that changes over training, in a few static shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import jax

from maskmim.config.describe import title
from maskmim.masks.growth import Buckets
from maskmim.methods.masked import masked
from maskmim.types import (
    Array,
    Batch,
    Context,
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
    mask: Callable[[Randomness, Context], Mask],
    objectives: Mapping[str, Callable[[], Objective]],
    teachers: Mapping[str, Callable[[], Teacher]],
    buckets: Callable[[], Buckets],
) -> Method:
    """Masked modelling whose mask ratio follows the progress of training.

    model, objectives, teachers: as `method.masked`; mask: a sampler brick with a `ratio`, which is
    replaced by that of the bucket in force; buckets: brick () -> Buckets, see `masks.growth`.

    One step is compiled, with a branch for each ratio, and one branch runs: an early step with few
    hidden tokens costs what it must, and nothing is compiled later. Evaluators and pictures use the
    last ratio.
    Source: LMD (row 28), whose ratio changes from step to step, a new shape each time.
    """
    made = buckets()
    rest = {"model": model, "objectives": objectives, "teachers": teachers}
    methods = [masked(spec, mask=partial(mask, ratio=ratio), **rest) for ratio in made.ratios]
    last = methods[-1]
    shares = ", ".join(f"{ratio:.2f}" for ratio in made.ratios)
    told = (("mask ratio", f"{shares} in turn, {title(buckets)}"),)
    return last._replace(loss=partial(_loss, tuple(methods), made), chain=last.chain + told)


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
    return Losses(terms, _scales(methods[0], variables, batch, randomness), metrics, carry)


def _scales(
    method: Method, variables: Variables, batch: Batch, randomness: Randomness
) -> Mapping[str, float]:
    """The static factors of the terms, which no branch may return: found by an abstract run."""
    found = {}

    def look() -> None:
        found.update(method.loss(variables, batch, randomness, 0.0).scales)

    jax.eval_shape(look)
    return found
