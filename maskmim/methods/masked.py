"""The generic method: tokens, mask, encoder, predictor, objectives. Most methods are this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config.describe import needs_of, title
from maskmim.config.returned import returned
from maskmim.errors import UserError
from maskmim.models.calls import lacking_call, refuse_unused, watched, with_calls
from maskmim.models.running_norms import (
    carried_sums,
    check_part_names,
    initial_norms,
    updated_norms,
    with_norms,
)
from maskmim.types import (
    Apply,
    Array,
    Batch,
    Context,
    Encoded,
    LearnedFunction,
    Losses,
    Mask,
    Mean,
    Method,
    Net,
    Objective,
    PairObjective,
    Randomness,
    Spec,
    Teacher,
    Tree,
    Variables,
    View,
)

# Bricks that may call functions of a network.
Caller = Objective | PairObjective | Teacher


class MethodError(UserError, ValueError):
    """Bricks of a method that do not fit together."""


class Parts(NamedTuple):
    """The built bricks of a masked method; objectives and teachers by name.

    labels: classes of each set of labels, see `Spec.labels`.
    undeclared: the functions of `config.calls` that no brick declares in its `calls`.
    """

    net: Net
    mask: Callable[[Randomness, Context], Mask]
    objectives: Mapping[str, Objective]
    teachers: Mapping[str, Teacher]
    labels: Mapping[str, int]
    undeclared: tuple[str, ...] = ()


def masked(
    spec: Spec,
    *,
    model: Callable[[Spec], Net],
    mask: Callable[[Randomness, Context], Mask],
    objectives: Mapping[str, Callable[[], Objective]],
    teachers: Mapping[str, Callable[[], Teacher]],
    calls: Mapping[str, Callable[[int], LearnedFunction]] = {},
) -> Method:
    """Compose masked modelling from bricks; every keyword is a section of the config.

    model:      brick, spec -> Net.
    mask:       sampler brick, (randomness, context) -> Mask.
    objectives: bricks by name, () -> Objective; the loss is the sum of scale * weighted mean.
    teachers:   bricks by name, () -> Teacher, called in order; those that do not see the mask come
                first, so that the sampler may read their hints.
    calls:      bricks by name, width -> LearnedFunction; objectives and teachers call them, and
                their parameters stand in the params under their names.

    Raises MethodError where a brick needs a hint that no teacher gives in time, or calls a function
    that the network lacks, and where no term of the loss has a scale above 0; in `loss` also for an
    objective on no tokens, and ModelError for a function of `calls` that nothing calls.
    """
    net = returned(model(spec), Net, "model.brick", model)
    parts = Parts(
        with_calls(net, calls),
        mask,
        built(objectives, Objective, "objectives"),
        built(teachers, Teacher, "teachers"),
        spec.labels,
    )
    check_hints(mask, parts.objectives, parts.teachers)
    sections = {"objectives": parts.objectives, "teachers": parts.teachers}
    check_calls(parts.net, sections)
    parts = parts._replace(undeclared=undeclared_calls(calls, sections))
    check_terms({"objectives": parts.objectives})
    check_part_names({**parts.objectives, **parts.teachers})
    apply: Apply = {
        "encode": partial(encode_whole, parts.net),
        "evaluated": with_norms,
        "mask": partial(_mask, parts),
    }
    if any(objective.pixels for objective in parts.objectives.values()):
        apply["reconstruct"] = partial(_reconstruct, parts)
    drawable = {name: term for name, term in parts.objectives.items() if term.shows}
    return Method(
        net=parts.net,
        init=partial(_init, parts),
        freeze=partial(_freeze, parts),
        loss=partial(_loss, parts),
        refresh=partial(_refresh, parts),
        apply=apply,
        chain=_chain(parts),
        sheets={name: partial(_sheet, parts, term) for name, term in drawable.items()},
    )


def built(bricks: Mapping[str, Callable], kind: type, section: str) -> dict[str, Any]:
    """Return what each brick of a section makes; raise BrickError unless all are of the kind."""
    return {
        name: returned(build(), kind, f"{section}.{name}.brick", build)
        for name, build in bricks.items()
    }


def _init(parts: Parts, key: Array) -> tuple[Tree, Tree]:
    params = parts.net.init(key)
    extra = {
        name: teacher.init(jax.random.fold_in(key, number), parts.net, params)
        for number, (name, teacher) in enumerate(parts.teachers.items(), start=1)
    }
    return params, {**extra, **initial_norms(parts.net)}


def _freeze(parts: Parts) -> Tree:
    return {name: teacher.freeze() for name, teacher in parts.teachers.items()}


def _forward(
    parts: Parts,
    variables: Variables,
    batch: Batch,
    randomness: Randomness,
    progress: Array,
    *,
    drops: bool = True,
) -> View:
    """Run teachers, sampler, encoder and predictor on a batch.

    drops: whether the network drops paths and values, as in training.
    """
    net = parts.net
    inputs = net.inputs(batch)
    params = jax.lax.stop_gradient(variables.params)
    context = Context(batch, net.grids, {}, progress, params=params, labels=parts.labels)
    early = {name: teacher for name, teacher in parts.teachers.items() if not teacher.sees_mask}
    late = {name: teacher for name, teacher in parts.teachers.items() if teacher.sees_mask}
    context = add_hints(early, net, variables, context, None)
    mask = returned(parts.mask(randomness, context), Mask, "mask.brick", parts.mask)
    context = add_hints(late, net, variables, context, mask)
    dropped, capture = randomness if drops else None, captures_of(parts.objectives)
    encoded = net.encode(variables.params, inputs, mask, capture=capture, randomness=dropped)
    outputs = net.predict(variables.params, encoded, mask, randomness=dropped)
    return View(
        net,
        context,
        inputs,
        mask,
        encoded,
        outputs,
        variables.extra,
        variables.params,
        randomness.inside("objectives"),
    )


def _loss(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> Losses:
    net, used = watched(parts.net)
    view = _forward(parts._replace(net=net), variables, batch, randomness, progress)
    losses = sum_objectives(parts.objectives, view)
    refuse_unused(parts.undeclared, used)
    return losses._replace(carry={**losses.carry, **carried_sums(view.encoded)})


def sum_objectives(
    objectives: Mapping[str, Objective], view: View, number: int | None = None
) -> Losses:
    """Return the weighted sums of the objectives' losses, with metrics and carries by name.

    number: of the view where there are several, for messages.
    Raises MethodError for a loss of another shape than its weights, or without a value.
    """
    terms: dict[str, Mean] = {}
    metrics: dict[str, Mean] = {}
    carry: dict[str, Tree] = {}
    for name, objective in objectives.items():
        per_token, weight, measured, carry[name] = objective.find(for_objective(view, name))
        check_loss_shape(f"objectives.{name}", per_token, weight)
        if not jnp.size(weight):
            where = "" if number is None else f" of view {number}"
            way = "" if number is None else ", or leave the view out of predicts"
            raise MethodError(
                f"objectives.{name} is taken on no token{where}, as the sampler predicts none, so "
                f"that nothing is trained: raise the ratio of the mask{way}"
            )
        per_token = per_token.astype(jnp.float32)
        terms[name] = Mean(jnp.sum(per_token * weight), jnp.sum(weight))
        metrics |= {f"{name}/{key}": value for key, value in measured.items()}
    scales = {name: objective.scale for name, objective in objectives.items()}
    return Losses(terms, scales, metrics, carry)


def captures_of(objectives: Mapping[str, Objective]) -> tuple[str, ...]:
    """Return what objectives read of an encoder besides its output, each name once."""
    return tuple(dict.fromkeys(name for term in objectives.values() for name in term.captures))


def for_objective(view: View, name: str) -> View:
    """Return the view of one objective, whose random numbers are its own."""
    return view._replace(randomness=view.randomness and view.randomness.inside(name))


def check_loss_shape(key: str, per_token: Array, weight: Array) -> None:
    """Raise MethodError unless a loss has one value for each weight; key: where it comes from."""
    if jnp.shape(per_token) != jnp.shape(weight):
        raise MethodError(
            f"{key}: the loss has the shape {jnp.shape(per_token)}, but the weights, by which its "
            f"values are averaged, {jnp.shape(weight)}: return one value for each example or token"
        )


def check_terms(sections: Mapping[str, Mapping[str, Objective | PairObjective]]) -> None:
    """Raise MethodError where the loss has no term, or only terms of scale 0, and trains nothing.

    sections: objectives by the section of the config that they stand in, then by name.
    """
    if any(term.scale for section in sections.values() for term in section.values()):
        return
    keys = [f"{section}.{name}" for section, terms in sections.items() for name in terms]
    if not keys:
        raise MethodError(
            f"{' and '.join(sections)} {'are both' if len(sections) > 1 else 'is'} empty: name a "
            "term of the loss, such as config.objectives.pixels"
        )
    raise MethodError(
        f"every term of the loss has the scale 0 ({', '.join(keys)}), so that nothing is trained: "
        f"set {keys[0]}.scale above 0"
    )


def _refresh(parts: Parts, variables: Variables, carry: Tree, progress: Array) -> Tree:
    teachers = {
        name: teacher.refresh(variables.extra[name], variables.params, carry, progress)
        for name, teacher in parts.teachers.items()
    }
    return {**teachers, **updated_norms(parts.net, variables.extra, carry)}


def encode_whole(
    net: Net, variables: Variables, batch: Batch, *, capture: tuple[str, ...] = ()
) -> Encoded:
    """Return what a network's encoder makes of whole examples, as `Apply` says of 'encode'."""
    params = with_norms(variables).params
    return net.encode(params, net.inputs(batch), None, capture=capture)


def _evaluated(parts: Parts, variables: Variables, batch: Batch, randomness: Randomness) -> View:
    """Return the view of a batch as evaluation computes it, without drops."""
    evaluated = with_norms(variables)
    return _forward(parts, evaluated, batch, randomness, jnp.float32(0.0), drops=False)


def _mask(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Any]:
    view = _evaluated(parts, variables, batch, randomness)
    return {"mask": view.mask, "inputs": view.inputs}


def _reconstruct(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Any]:
    """Return the mask, the inputs and the pixels of the first objective that has them.

    Of objectives on single streams, under 'streams', those of the first on each stream.
    """
    view = _evaluated(parts, variables, batch, randomness)
    drawn = {name: each.pixels for name, each in parts.objectives.items() if each.pixels}
    found = [pixels(for_objective(view, name)) for name, pixels in drawn.items()]
    return {"mask": view.mask, "inputs": view.inputs, **merge_pixels(found)}


def merge_pixels(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the entries of the first; 'streams' gets the streams that only others have too."""
    by_stream = [one["streams"] for one in found if "streams" in one]
    streams = {name: each for one in reversed(by_stream) for name, each in one.items()}
    return {**found[0], "streams": streams} if streams else dict(found[0])


def _sheet(
    parts: Parts, term: Objective, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    return term.shows(_evaluated(parts, variables, batch, randomness))


def check_hints(
    mask: Callable, objectives: Mapping[str, Objective], teachers: Mapping[str, Teacher]
) -> None:
    """Raise MethodError unless teachers give every hint that sampler and objectives need, in time.

    The sampler can only read hints of teachers that do not see the mask.
    """
    early = {
        hint for teacher in teachers.values() if not teacher.sees_mask for hint in teacher.gives
    }
    every = {hint for teacher in teachers.values() for hint in teacher.gives}
    readers = {f"the sampler {title(mask)}": (needs_of(mask), early)}
    readers |= {f"the objective {name!r}": (term.needs, every) for name, term in objectives.items()}
    for reader, (needs, in_time) in readers.items():
        missing = sorted(set(needs) - in_time)
        if missing:
            late = sorted(set(missing) & every)
            why = f"{late} come only after the mask is drawn" if late else "no teacher gives them"
            raise MethodError(
                f"{reader} needs the hints {missing}, but {why}; hints given in time: "
                f"{sorted(in_time) or 'none'}. Add a teacher under config.teachers that gives them."
            )


def check_calls(net: Net, sections: Mapping[str, Mapping[str, Caller]]) -> None:
    """Raise MethodError where a brick of some sections calls a function that the network lacks."""
    for section, bricks in sections.items():
        for name, brick in bricks.items():
            if missing := sorted(set(brick.calls) - set(net.calls)):
                raise MethodError(
                    f"{section}.{name} calls {', '.join(missing)} of the network: "
                    f"{lacking_call(missing[0], net.calls)}, or use a model that has it"
                )


def undeclared_calls(
    calls: Mapping[str, Callable], sections: Mapping[str, Mapping[str, Caller]]
) -> tuple[str, ...]:
    """Return the functions of `config.calls` that no brick of some sections declares to call."""
    bricks = [brick for section in sections.values() for brick in section.values()]
    return tuple(sorted(set(calls) - {name for brick in bricks for name in brick.calls}))


def add_hints(
    teachers: Mapping[str, Teacher],
    net: Net,
    variables: Variables,
    context: Context,
    mask: Mask | None,
) -> Context:
    """Return the context with the teachers' hints added; a teacher sees those given before it."""
    for name, teacher in teachers.items():
        extra, frozen = variables.extra[name], variables.frozen[name]
        hints = jax.lax.stop_gradient(teacher.find(net, extra, frozen, context, mask))
        context = replace(
            context,
            hints={**context.hints, **hints},
            classes={**context.classes, **teacher.classes},
        )
    return context


def _chain(parts: Parts) -> tuple[tuple[str, str], ...]:
    """Return `Method.chain`: tokens, teachers, sampler, networks, objectives."""
    grids = (f"{name} {'x'.join(map(str, grid))}" for name, grid in parts.net.grids.items())
    teachers = (
        (f"teacher {name}", f"gives {', '.join(teacher.gives)}")
        for name, teacher in parts.teachers.items()
    )
    objectives = ((f"objective {name}", term.says) for name, term in parts.objectives.items())
    sampler = ("sampler", title(parts.mask))
    return (("tokens", ", ".join(grids)), *teachers, sampler, *parts.net.says, *objectives)
