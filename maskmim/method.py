"""The generic composition: tokens, mask, encoder, predictor, objectives; most methods are this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from maskmim.brick_facts import needs_of, title
from maskmim.exits import UserError
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
    net = model(spec)
    terms = {name: make() for name, make in objectives.items()}
    guides = {name: make() for name, make in teachers.items()}
    check_hints(mask, terms, guides)

    def init(key: Array) -> Variables:
        params = net.init(key)
        parts = {
            name: guide.init(jax.random.fold_in(key, place), net, params)
            for place, (name, guide) in enumerate(guides.items(), start=1)
        }
        extra = {name: part[0] for name, part in parts.items()}
        frozen = {name: part[1] for name, part in parts.items()}
        return Variables(params, extra, frozen)

    def look(variables: Variables, batch: Batch, randomness: Randomness, progress: Array) -> View:
        inputs = net.inputs(batch)
        context = Context(batch, net.grids, {}, progress)
        context = _ask(guides, False, net, variables, context, None)
        drawn = mask(randomness, context)
        context = _ask(guides, True, net, variables, context, drawn)
        encoded = net.encode(variables.params, inputs, drawn)
        outputs = net.predict(variables.params, encoded, drawn)
        return View(net, context, inputs, drawn, encoded, outputs, variables.extra)

    def loss(variables: Variables, batch: Batch, randomness: Randomness, progress: Array) -> Losses:
        view = look(variables, batch, randomness, progress)
        means: dict[str, Mean] = {}
        metrics: dict[str, Mean] = {}
        carry: dict[str, Tree] = {}
        for name, term in terms.items():
            per_token, weight, found, carry[name] = term.find(view)
            per_token = per_token.astype(jnp.float32)
            means[name] = Mean(jnp.sum(per_token * weight), jnp.sum(weight))
            metrics |= {f"{name}/{key}": value for key, value in found.items()}
        scales = {name: term.scale for name, term in terms.items()}
        return Losses(means, scales, metrics, carry)

    def refresh(variables: Variables, carry: Tree, progress: Array) -> Tree:
        return {
            name: guide.refresh(variables.extra[name], variables.params, carry, progress)
            for name, guide in guides.items()
        }

    def encode(variables: Variables, batch: Batch, *, capture: tuple[str, ...] = ()) -> Encoded:
        return net.encode(variables.params, net.inputs(batch), None, capture=capture)

    def reconstruct(variables: Variables, batch: Batch, randomness: Randomness) -> dict[str, Any]:
        view = look(variables, batch, randomness, jnp.float32(0.0))
        return {"mask": view.mask, "inputs": view.inputs, **shown.pixels(view)}

    def draw(variables: Variables, batch: Batch, randomness: Randomness) -> dict[str, Any]:
        view = look(variables, batch, randomness, jnp.float32(0.0))
        return {"mask": view.mask, "inputs": view.inputs}

    shown = next((term for term in terms.values() if term.pixels), None)
    apply = {"encode": encode, "mask": draw} | ({"reconstruct": reconstruct} if shown else {})
    return Method(net, init, loss, refresh, apply, describe(net, mask, terms, guides))


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


def _ask(
    guides: Mapping[str, Teacher],
    after_mask: bool,
    net: Net,
    variables: Variables,
    context: Context,
    mask: Mask | None,
) -> Context:
    """The context with the hints of the teachers that are asked at this point added."""
    for name, guide in guides.items():
        if guide.sees_mask == after_mask:
            parts = variables.extra[name], variables.frozen[name]
            found = jax.lax.stop_gradient(guide.find(net, *parts, context, mask))
            hints = {**context.hints, **found}
            context = Context(context.batch, context.grids, hints, context.progress)
    return context


def describe(
    net: Net, mask: Callable, terms: Mapping[str, Objective], guides: Mapping[str, Teacher]
) -> tuple[tuple[str, str], ...]:
    """The chain of a masked method as lines for people."""
    grids = ", ".join(f"{name} {'x'.join(map(str, grid))}" for name, grid in net.grids.items())
    teachers = [
        (f"teacher {name}", "gives " + ", ".join(guide.gives)) for name, guide in guides.items()
    ]
    objectives = [(f"objective {name}", term.says) for name, term in terms.items()]
    return (
        ("tokens", grids),
        *teachers,
        ("sampler", title(mask)),
        *net.says,
        *objectives,
    )
