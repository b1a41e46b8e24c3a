"""Training on labels: whole examples, erased and mixed in the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.config.returned import returned
from maskmim.masks.roles import everything
from maskmim.methods.masked import (
    built,
    check_calls,
    check_hints,
    check_terms,
    encode_whole,
    sum_objectives,
    undeclared_calls,
)
from maskmim.methods.mixing import Mixed, mix_shares
from maskmim.models.calls import refuse_unused, watched, with_calls
from maskmim.models.running_norms import (
    carried_sums,
    check_part_names,
    initial_norms,
    updated_norms,
    with_norms,
)
from maskmim.objectives.soft_labels import class_shares, hint_of
from maskmim.types import (
    Apply,
    Array,
    Batch,
    Context,
    LearnedFunction,
    Losses,
    Method,
    Net,
    Objective,
    Randomness,
    Spec,
    Tree,
    Variables,
    View,
    nothing,
)


class Parts(NamedTuple):
    """The built bricks of the method; see `supervised`.

    labels: classes of each set of labels, see `Spec.labels`.
    undeclared: the functions of `config.calls` that no objective declares to call.
    """

    net: Net
    objectives: Mapping[str, Objective]
    mix: Callable[[Randomness, Array], Mixed] | None
    erase: Callable[[Randomness, Array], Array] | None
    labels: Mapping[str, int]
    undeclared: tuple[str, ...]


def supervised(
    spec: Spec,
    *,
    model: Callable[[Spec], Net],
    objectives: Mapping[str, Callable[[], Objective]],
    calls: Mapping[str, Callable[[int], LearnedFunction]],
    mix: Callable[[Randomness, Array], Mixed] | None = None,
    erase: Callable[[Randomness, Array], Array] | None = None,
) -> Method:
    """Compose training on labels from bricks; every keyword is a section of the config.

    model:      brick, spec -> Net, such as `models.encoder_only.vit_encoder`; its predictor does
                not run.
    objectives: bricks by name, () -> Objective, such as `objectives.soft_label`.
    calls:      bricks by name, width -> LearnedFunction: the classifiers.
    mix:        brick, (randomness, inputs) -> Mixed, such as `mixing.mixup_or_cutmix`, or None.
    erase:      brick, (randomness, inputs) -> inputs, such as `erasing.random_erasing`, or None;
                it comes before `mix`, as in timm.

    Nothing is hidden. Inputs are erased and mixed after they are normalised, in the loss alone;
    evaluation sees whole examples. For each set of `input.labels` the hint 'shares/<set>' has the
    shares of its classes, f32[B, classes], mixed as the inputs are; `objectives.soft_label` and
    `binary_labels` read it. `objectives.label` would learn the unmixed label of a mixed input.
    Raises MethodError where bricks do not fit, as `methods.masked`, and for `mix` or `erase` where
    the inputs are no pictures.
    """
    net = with_calls(returned(model(spec), Net, "model.brick", model), calls)
    terms = built(objectives, Objective, "objectives")
    sections = {"objectives": terms}
    check_hints(everything, terms, {})
    check_calls(net, sections)
    check_terms(sections)
    check_part_names(terms)
    parts = Parts(net, terms, mix, erase, spec.labels, undeclared_calls(calls, sections))
    apply: Apply = {
        "encode": partial(encode_whole, net),
        "evaluated": with_norms,
        "mask": partial(_mask, parts),
    }
    changes = (mix or erase) and net.display
    return Method(
        net=net,
        init=lambda key: (net.init(key), initial_norms(net)),
        freeze=nothing,
        loss=partial(_loss, parts),
        refresh=partial(_refresh, parts),
        apply=apply,
        chain=_chain(parts),
        sheets={"trained_on": partial(_sheet, parts)} if changes else {},
        does="training on labels",
    )


def _changed(
    parts: Parts, inputs: Tree, shares: Mapping[str, Array], randomness: Randomness
) -> tuple[Tree, dict[str, Array]]:
    """Return inputs and shares of labels as the loss takes them, erased and mixed."""
    if parts.erase:
        inputs = parts.erase(randomness, inputs)
    if not parts.mix:
        return inputs, dict(shares)
    mixed = returned(parts.mix(randomness, inputs), Mixed, "mix.brick", parts.mix)
    return mixed.inputs, {name: mix_shares(each, mixed.share) for name, each in shares.items()}


def _loss(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> Losses:
    net, used = watched(parts.net)
    params = variables.params
    shares = {
        hint_of(name): class_shares(batch["label"][name], classes)
        for name, classes in parts.labels.items()
    }
    inputs, hints = _changed(parts, net.inputs(batch), shares, randomness)
    stopped = jax.lax.stop_gradient(params)
    context = Context(batch, net.grids, hints, progress, params=stopped, labels=parts.labels)
    encoded = net.encode(params, inputs, None, randomness=randomness)
    mask, own = everything(randomness, context), randomness.inside("objectives")
    view = View(net, context, inputs, mask, encoded, {}, variables.extra, params, own)
    losses = sum_objectives(parts.objectives, view)
    refuse_unused(parts.undeclared, used)
    return losses._replace(carry={**losses.carry, **carried_sums(encoded)})


def _refresh(parts: Parts, variables: Variables, carry: Tree, progress: Array) -> Tree:
    return updated_norms(parts.net, variables.extra, carry)


def _mask(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Any]:
    context = Context(batch, parts.net.grids, {}, jnp.float32(0.0))
    return {"mask": everything(randomness, context), "inputs": parts.net.inputs(batch)}


def _sheet(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    """Draw inputs as they are and as the loss takes them."""
    inputs = parts.net.inputs(batch)
    changed, _ = _changed(parts, inputs, {}, randomness)
    return {"input": parts.net.display(inputs), "trained on": parts.net.display(changed)}


def _chain(parts: Parts) -> tuple[tuple[str, str], ...]:
    """Return `Method.chain`: tokens, changes of the inputs, network, objectives."""
    grids = (f"{name} {'x'.join(map(str, grid))}" for name, grid in parts.net.grids.items())
    changes = {"erased by": parts.erase, "mixed by": parts.mix}
    objectives = ((f"objective {name}", term.says) for name, term in parts.objectives.items())
    changed = ((words, title(brick)) for words, brick in changes.items() if brick)
    return (("tokens", ", ".join(grids)), *changed, *parts.net.says, *objectives)
