"""Masked modelling whose mask is a projection of the tokens: none is hidden, all are mixed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from maskmim.config.describe import title
from maskmim.config.facts import function_of
from maskmim.config.returned import returned
from maskmim.masks.projection import Projection
from maskmim.masks.roles import everything
from maskmim.methods.masked import MethodError, masked
from maskmim.types import (
    Apply,
    Array,
    Batch,
    Context,
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

# What draws random numbers: these functions of a method see projected tokens.
PROJECTED = ("mask", "reconstruct")


def projected(
    spec: Spec,
    *,
    model: Callable[[Spec], Net],
    mask: Callable[[Randomness, Context], Mask],
    projection: Callable[[Randomness, Context], Projection],
    objectives: Mapping[str, Callable[[], Objective]],
    teachers: Mapping[str, Callable[[], Teacher]],
    calls: Mapping[str, Callable[[int], LearnedFunction]] = {},
) -> Method:
    """Compose `masked` with a projection of the tokens in place of hidden ones.

    model:      brick, spec -> Net whose `encode` takes a `projection`, such as
                `models.ropim.projected_vit`.
    mask:       `masks.roles.everything`: the projection alone withholds.
    projection: brick, (randomness, context) -> Projection, of `masks.projection`; drawn anew in
                each step. Objectives find it in `Encoded.given`.
    Other keywords are those of `methods.masked.masked`. Evaluation encodes whole pictures without a
    projection.
    Raises MethodError for another mask or a model that takes no projection, and as `masked` does.
    Source: ROPIM (ICLR 2024, arXiv 2310.18737), algorithm 1.
    """
    net = returned(model(spec), Net, "model.brick", model)
    _check(net, model, mask)
    bricks = {"mask": mask, "objectives": objectives, "teachers": teachers, "calls": calls}

    def at(randomness: Randomness) -> Method:
        """Return the method under the projection of a batch."""
        drawn = projection(randomness, Context({}, net.grids, {}))
        under = net._replace(encode=partial(net.encode, projection=drawn))
        return masked(spec, model=lambda spec: under, **bricks)

    def loss(variables: Variables, batch: Batch, randomness: Randomness, progress: Array) -> Losses:
        return at(randomness).loss(variables, batch, randomness, progress)

    def apply(name: str, variables: Variables, batch: Batch, randomness: Randomness) -> Any:
        return at(randomness).apply[name](variables, batch, randomness)

    def sheet(name: str, variables: Variables, batch: Batch, randomness: Randomness) -> Any:
        return at(randomness).sheets[name](variables, batch, randomness)

    whole = masked(spec, model=lambda spec: net, **bricks)
    drawing = {name: partial(apply, name) for name in PROJECTED if name in whole.apply}
    return whole._replace(
        loss=loss,
        apply=cast(Apply, {**whole.apply, **drawing}),
        sheets={name: partial(sheet, name) for name in whole.sheets},
        chain=(("projection", title(projection)), *whole.chain),
    )


def _check(net: Net, model: Callable, mask: Callable) -> None:
    """Raise MethodError for a model that takes no projection, or a mask that hides tokens."""
    if "projection" not in inspect.signature(net.encode).parameters:
        raise MethodError(
            f"model.brick: the encoder of {title(model)} takes no projection, so that it would see "
            "whole pictures: use maskmim.models.ropim.projected_vit"
        )
    if function_of(mask) is not everything:
        raise MethodError(
            f"mask.brick: {title(mask)} hides tokens besides the projection: use "
            "maskmim.masks.roles.everything"
        )
