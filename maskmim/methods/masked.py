"""The generic composition: tokens, mask, encoder, predictor, objectives; most methods are this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config.describe import needs_of, title
from maskmim.errors import UserError
from maskmim.types import (
    Array,
    Batch,
    Context,
    Encoded,
    Losses,
    Mask,
    Mean,
    Method,
    Net,
    Objective,
    Randomness,
    Spec,
    Teacher,
    Tree,
    Variables,
    View,
)


class MethodError(UserError, ValueError):
    """Parts of a method that do not fit together."""


class Parts(NamedTuple):
    """What a masked method is composed of, built: objectives and teachers by name."""

    net: Net
    mask: Callable[[Randomness, Context], Mask]
    objectives: Mapping[str, Objective]
    teachers: Mapping[str, Teacher]


def masked(
    spec: Spec,
    *,
    model: Callable[[Spec], Net],
    mask: Callable[[Randomness, Context], Mask],
    objectives: Mapping[str, Callable[[], Objective]],
    teachers: Mapping[str, Callable[[], Teacher]],
) -> Method:
    """Masked modelling composed of bricks; every keyword is a section of the config.

    model:      brick, spec -> Net.
    mask:       sampler brick, (randomness, context) -> Mask.
    objectives: bricks by name, () -> Objective; the loss is the sum of scale * weighted mean.
    teachers:   bricks by name, () -> Teacher; those that see no mask are asked first, in order,
                and their hints may inform the mask.

    Raises MethodError where a brick needs a hint that nobody gives in time.
    """
    parts = Parts(
        model(spec),
        mask,
        {name: make() for name, make in objectives.items()},
        {name: make() for name, make in teachers.items()},
    )
    check_hints(mask, parts.objectives, parts.teachers)
    apply = {"encode": partial(_encode, parts), "mask": partial(_draw, parts)}
    if any(objective.pixels for objective in parts.objectives.values()):
        apply["reconstruct"] = partial(_reconstruct, parts)
    shown = {name: term for name, term in parts.objectives.items() if term.shows}
    return Method(
        net=parts.net,
        init=partial(_init, parts),
        freeze=partial(_freeze, parts),
        loss=partial(_loss, parts),
        refresh=partial(_refresh, parts),
        apply=apply,
        chain=describe(parts),
        sheets={name: partial(_show, parts, term) for name, term in shown.items()},
    )


def _init(parts: Parts, key: Array) -> tuple[Tree, Tree]:
    params = parts.net.init(key)
    extra = {
        name: teacher.init(jax.random.fold_in(key, place), parts.net, params)
        for place, (name, teacher) in enumerate(parts.teachers.items(), start=1)
    }
    return params, extra


def _freeze(parts: Parts) -> Tree:
    return {name: teacher.freeze() for name, teacher in parts.teachers.items()}


def _look(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> View:
    """The computation that all methods share: hints, mask, encoder, predictor."""
    net = parts.net
    inputs = net.inputs(batch)
    context = Context(batch, net.grids, {}, progress)
    early = {name: each for name, each in parts.teachers.items() if not each.sees_mask}
    late = {name: each for name, each in parts.teachers.items() if each.sees_mask}
    context = ask(early, net, variables, context, None)
    drawn = parts.mask(randomness, context)
    context = ask(late, net, variables, context, drawn)
    encoded = net.encode(variables.params, inputs, drawn, randomness=randomness)
    outputs = net.predict(variables.params, encoded, drawn, randomness=randomness)
    return View(net, context, inputs, drawn, encoded, outputs, variables.extra)


def _loss(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> Losses:
    return losses_of(parts.objectives, _look(parts, variables, batch, randomness, progress))


def losses_of(objectives: Mapping[str, Objective], view: View) -> Losses:
    """What the objectives find in a computation, each a term; their carries by name."""
    terms: dict[str, Mean] = {}
    metrics: dict[str, Mean] = {}
    carry: dict[str, Tree] = {}
    for name, objective in objectives.items():
        per_token, weight, found, carry[name] = objective.find(view)
        per_token = per_token.astype(jnp.float32)
        terms[name] = Mean(jnp.sum(per_token * weight), jnp.sum(weight))
        metrics |= {f"{name}/{key}": value for key, value in found.items()}
    scales = {name: objective.scale for name, objective in objectives.items()}
    return Losses(terms, scales, metrics, carry)


def _refresh(parts: Parts, variables: Variables, carry: Tree, progress: Array) -> Tree:
    return {
        name: teacher.refresh(variables.extra[name], variables.params, carry, progress)
        for name, teacher in parts.teachers.items()
    }


def _encode(
    parts: Parts, variables: Variables, batch: Batch, *, capture: tuple[str, ...] = ()
) -> Encoded:
    return parts.net.encode(variables.params, parts.net.inputs(batch), None, capture=capture)


def _draw(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Any]:
    view = _look(parts, variables, batch, randomness, jnp.float32(0.0))
    return {"mask": view.mask, "inputs": view.inputs}


def _reconstruct(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Any]:
    """The mask, the inputs and what the first objective that can be shown shows."""
    view = _look(parts, variables, batch, randomness, jnp.float32(0.0))
    shown = next(objective for objective in parts.objectives.values() if objective.pixels)
    return {"mask": view.mask, "inputs": view.inputs, **shown.pixels(view)}


def _show(
    parts: Parts, term: Objective, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    return term.shows(_look(parts, variables, batch, randomness, jnp.float32(0.0)))


def check_hints(
    mask: Callable, terms: Mapping[str, Objective], guides: Mapping[str, Teacher]
) -> None:
    """MethodError unless every hint that is needed is given, and in time."""
    early = {hint for guide in guides.values() if not guide.sees_mask for hint in guide.gives}
    every = {hint for guide in guides.values() for hint in guide.gives}
    wanted = {f"the sampler {title(mask)}": (needs_of(mask), early)}
    wanted |= {f"the objective {name!r}": (term.needs, every) for name, term in terms.items()}
    for who, (needs, given) in wanted.items():
        missing = sorted(set(needs) - given)
        if missing:
            late = sorted(set(missing) & every)
            why = f"{late} come only after the mask is drawn" if late else "no teacher gives them"
            raise MethodError(
                f"{who} needs the hints {missing}, but {why}; hints given in time: "
                f"{sorted(given) or 'none'}. Add a teacher under config.teachers that gives them."
            )


def ask(
    teachers: Mapping[str, Teacher],
    net: Net,
    variables: Variables,
    context: Context,
    mask: Mask | None,
) -> Context:
    """The context with the teachers' hints added; each is told those of the ones before it."""
    for name, teacher in teachers.items():
        own = variables.extra[name], variables.frozen[name]
        found = jax.lax.stop_gradient(teacher.find(net, *own, context, mask))
        hints = {**context.hints, **found}
        context = Context(context.batch, context.grids, hints, context.progress)
    return context


def describe(parts: Parts) -> tuple[tuple[str, str], ...]:
    """The chain of a masked method as lines for people."""
    grids = (f"{name} {'x'.join(map(str, grid))}" for name, grid in parts.net.grids.items())
    teachers = (
        (f"teacher {name}", f"gives {', '.join(teacher.gives)}")
        for name, teacher in parts.teachers.items()
    )
    objectives = ((f"objective {name}", term.says) for name, term in parts.objectives.items())
    sampler = ("sampler", title(parts.mask))
    return (("tokens", ", ".join(grids)), *teachers, sampler, *parts.net.says, *objectives)
