"""Training of a tokenizer whose codes predict a teacher's features: BEiT v2's VQ-KD."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from maskmim.config.describe import title
from maskmim.config.returned import returned
from maskmim.masks.core import nothing_hidden
from maskmim.masks.roles import everything
from maskmim.methods.masked import add_hints, built, masked, sum_objectives
from maskmim.models.vq_vit import Tokenizer
from maskmim.quantize.ema_codebook import Codebook
from maskmim.quantize.vector_quantize import straight_through
from maskmim.reporting.palette import palette
from maskmim.targets.codes import repeat_to_pixels
from maskmim.types import (
    Array,
    Batch,
    Context,
    Losses,
    Method,
    Objective,
    Randomness,
    Spec,
    Teacher,
    Tree,
    Variables,
    View,
)


class Parts(NamedTuple):
    """The built bricks of the method."""

    tokenizer: Tokenizer
    codebook: Codebook
    objectives: Mapping[str, Objective]
    teachers: Mapping[str, Teacher]


def vq_kd(
    spec: Spec,
    *,
    model: Callable[[Spec], Tokenizer],
    codebook: Callable[[int], Codebook],
    objectives: Mapping[str, Callable[[], Objective]],
    teachers: Mapping[str, Callable[[], Teacher]],
) -> Method:
    """Train a tokenizer by distillation; every keyword is a section of the config.

    model:      brick, spec -> Tokenizer.
    codebook:   brick, width of a code -> Codebook; its arrays are extra['codebook'].
    objectives: bricks by name, () -> Objective. Every token is visible and predicted. Outputs are
                'features' f32[B, N, values], decoded from the codes; 'vectors' f32[B, N, width],
                before quantisation; 'quantised' f32[B, N, width], their codes' vectors.
    teachers:   bricks by name, () -> Teacher.

    Gradients of the decoded features pass straight through to the vectors, none to the codes.
    `apply` has 'codes' and 'codebook'.
    Raises MethodError where an objective needs a hint that no teacher gives.
    Source: BEiT v2 (arXiv 2208.06366), modeling_vqkd.py of microsoft/unilm, folder beit2. Like the
    official code, whose codes are EMAs, it omits the codebook loss of the paper's objective.
    """
    tokenizer = returned(model(spec), Tokenizer, "model.brick", model)
    parts = Parts(
        tokenizer,
        returned(codebook(tokenizer.width), Codebook, "codebook.brick", codebook),
        built(objectives, Objective, "objectives"),
        built(teachers, Teacher, "teachers"),
    )
    composed = masked(
        spec,
        model=lambda spec: tokenizer.net,
        mask=everything,
        objectives={name: partial(_prebuilt, term) for name, term in parts.objectives.items()},
        teachers={name: partial(_prebuilt, each) for name, each in parts.teachers.items()},
    )
    return composed._replace(
        init=partial(_init, parts, composed),
        loss=partial(_loss, parts),
        refresh=partial(_refresh, parts, composed),
        apply={
            **composed.apply,
            "codes": partial(_codes, parts),
            "codebook": partial(_codebook, parts),
        },
        chain=(*composed.chain, ("codebook", title(codebook))),
        sheets={"codes": partial(_codes_sheet, parts)},
        does="training of a tokenizer",
    )


def _codes(parts: Parts, variables: Variables, batch: Batch) -> Array:
    """Return the code of every token of whole examples: i32[B, N]."""
    net, params = parts.tokenizer.net, variables.params
    encoded = net.encode(params, net.inputs(batch), None)
    vectors = parts.tokenizer.vectors(params, encoded)
    return parts.codebook.nearest(variables.extra["codebook"], vectors)


def _codebook(parts: Parts, variables: Variables) -> Array:
    return parts.codebook.codes(variables.extra["codebook"])


def _prebuilt(part: Objective | Teacher) -> Objective | Teacher:
    """Return a built objective or teacher, so that a partial of this is its brick."""
    return part


def _init(parts: Parts, composed: Method, key: Array) -> tuple[Tree, Tree]:
    first, second = jax.random.split(key)
    params, extra = composed.init(first)
    return params, {**extra, "codebook": parts.codebook.init(second)}


def _forward(
    parts: Parts, variables: Variables, batch: Batch, progress: Array
) -> tuple[View, Array]:
    """Run teachers, encoder, codebook and decoder; return the view and the codes i32[B, N]."""
    tokenizer, params, extra = parts.tokenizer, variables.params, variables.extra
    net = tokenizer.net
    context = Context(batch, net.grids, {}, progress)
    context = add_hints(parts.teachers, net, variables, context, None)
    inputs = net.inputs(batch)
    encoded = net.encode(params, inputs, None)
    vectors = tokenizer.vectors(params, encoded)
    codes = parts.codebook.nearest(extra["codebook"], stop_gradient(vectors))
    quantised = jnp.asarray(parts.codebook.codes(extra["codebook"]))[codes]
    outputs = {
        "vectors": vectors,
        "quantised": quantised,
        "features": tokenizer.decode(params, straight_through(vectors, quantised)),
    }
    return View(net, context, inputs, nothing_hidden(*codes.shape), encoded, outputs, extra), codes


def _loss(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> Losses:
    view, codes = _forward(parts, variables, batch, progress)
    view = view._replace(params=variables.params, randomness=randomness.inside("objectives"))
    losses = sum_objectives(parts.objectives, view)
    extra = variables.extra["codebook"]
    usage = {f"codes/{key}": value for key, value in parts.codebook.metrics(extra).items()}
    vectors = stop_gradient(view.outputs["vectors"])
    sums = parts.codebook.count(extra, vectors, codes, randomness)
    return losses._replace(
        metrics={**losses.metrics, **usage}, carry={"codebook": sums, "objectives": losses.carry}
    )


def _refresh(
    parts: Parts, composed: Method, variables: Variables, carry: Tree, progress: Array
) -> Tree:
    teachers = composed.refresh(variables, carry["objectives"], progress)
    codebook = parts.codebook.update(variables.extra["codebook"], carry["codebook"])
    return {**teachers, "codebook": codebook}


def _codes_sheet(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    """Draw the pictures and their codes in colours."""
    net = parts.tokenizer.net
    inputs = net.inputs(batch)
    (grid,) = net.grids.values()
    colours = palette(_codes(parts, variables, batch))
    return {
        "image": net.display(inputs),
        "codes": repeat_to_pixels(colours, grid, inputs.shape[1:-1]),
    }
