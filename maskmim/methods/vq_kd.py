"""Training a tokenizer: tokens become codes from which a teacher's features are predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax

from maskmim.config.describe import title
from maskmim.masks.core import whole
from maskmim.methods.masked import ask, losses_of, masked
from maskmim.models.vq_vit import Tokenizer
from maskmim.quantize.ema_codebook import Codebook
from maskmim.quantize.vector_quantize import straight_through
from maskmim.targets.codes import palette, spread
from maskmim.types import (
    Array,
    Batch,
    Context,
    Losses,
    Mask,
    Method,
    Objective,
    Randomness,
    Spec,
    Teacher,
    Tree,
    Variables,
    View,
)

fixed = jax.lax.stop_gradient


class Parts(NamedTuple):
    """What the method is composed of, built."""

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
    """A tokenizer learnt by distillation; every keyword is a section of the config.

    model:      brick, spec -> Tokenizer.
    codebook:   brick, values of a code -> Codebook; its arrays are extra['codebook'].
    objectives: bricks by name, () -> Objective. Every token is seen and predicted. Outputs are
                'features' f32[B, N, values], read from the codes; 'vectors' f32[B, N, width], what
                was quantised; 'quantised' f32[B, N, width], their codes.
    teachers:   bricks by name, () -> Teacher.

    Gradients of what was read from the codes pass to the vectors (straight through), none to the
    codes. `apply['codes']`: (variables, batch) -> i32[B, N]; 'codebook': variables ->
    f32[codes, D].
    Raises MethodError where an objective needs a hint that nobody gives.
    Source: BEiT v2 (arXiv 2208.06366), modeling_vqkd.py of microsoft/unilm, folder beit2. The
    codebook loss of the paper's training objective is not in the code, whose codes are averages.
    """
    made = model(spec)
    parts = Parts(
        made,
        codebook(made.width),
        {name: make() for name, make in objectives.items()},
        {name: make() for name, make in teachers.items()},
    )
    composed = masked(
        spec,
        model=lambda spec: made.net,
        mask=everything,
        objectives={name: partial(_itself, term) for name, term in parts.objectives.items()},
        teachers={name: partial(_itself, each) for name, each in parts.teachers.items()},
    )
    return composed._replace(
        init=partial(_init, parts, composed),
        loss=partial(_loss, parts),
        refresh=partial(_refresh, parts, composed),
        apply={
            **composed.apply,
            "codes": partial(codes_of, parts),
            "codebook": partial(_book, parts),
        },
        chain=(*composed.chain, ("codebook", title(codebook))),
        sheets={"codes": partial(_draw, parts)},
    )


def codes_of(parts: Parts, variables: Variables, batch: Batch) -> Array:
    """The code of every token of whole examples: i32[B, N]."""
    net, params = parts.tokenizer.net, variables.params
    encoded = net.encode(params, net.inputs(batch), None)
    vectors = parts.tokenizer.vectors(params, encoded)
    return parts.codebook.nearest(variables.extra["codebook"], vectors)


def _book(parts: Parts, variables: Variables) -> Array:
    return parts.codebook.codes(variables.extra["codebook"])


def everything(randomness: Randomness, context: Context) -> Mask:
    """What this method looks at, as a sampler."""
    return whole(len(randomness.slots), context.length)


def _itself(made: Objective | Teacher) -> Objective | Teacher:
    """What was built already, as a brick."""
    return made


def _init(parts: Parts, composed: Method, key: Array) -> tuple[Tree, Tree]:
    first, second = jax.random.split(key)
    params, extra = composed.init(first)
    return params, {**extra, "codebook": parts.codebook.init(second)}


def _look(parts: Parts, variables: Variables, batch: Batch, progress: Array) -> tuple[View, Array]:
    """The computation and the codes i32[B, N]: teachers, vectors, codes, what these are read as."""
    tokenizer, params, extra = parts.tokenizer, variables.params, variables.extra
    net = tokenizer.net
    context = Context(batch, net.grids, {}, progress)
    context = ask(parts.teachers, net, variables, context, None)
    inputs = net.inputs(batch)
    encoded = net.encode(params, inputs, None)
    vectors = tokenizer.vectors(params, encoded)
    codes = parts.codebook.nearest(extra["codebook"], fixed(vectors))
    quantised = parts.codebook.codes(extra["codebook"])[codes]
    outputs = {
        "vectors": vectors,
        "quantised": quantised,
        "features": tokenizer.decode(params, straight_through(vectors, quantised)),
    }
    return View(net, context, inputs, whole(*codes.shape), encoded, outputs, extra), codes


def _loss(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> Losses:
    view, codes = _look(parts, variables, batch, progress)
    found = losses_of(parts.objectives, view)
    extra = variables.extra["codebook"]
    own = {f"codes/{key}": value for key, value in parts.codebook.metrics(extra).items()}
    counted = parts.codebook.count(extra, fixed(view.outputs["vectors"]), codes, randomness)
    return found._replace(
        metrics={**found.metrics, **own}, carry={"codebook": counted, "objectives": found.carry}
    )


def _refresh(
    parts: Parts, composed: Method, variables: Variables, carry: Tree, progress: Array
) -> Tree:
    teachers = composed.refresh(variables, carry["objectives"], progress)
    codebook = parts.codebook.update(variables.extra["codebook"], carry["codebook"])
    return {**teachers, "codebook": codebook}


def _draw(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    """What goes in, and the codes in colours."""
    net = parts.tokenizer.net
    inputs = net.inputs(batch)
    (grid,) = net.grids.values()
    colours = palette(codes_of(parts, variables, batch))
    return {"image": net.display(inputs), "codes": spread(colours, grid, inputs.shape[1:-1])}
