"""Several masked views of an example: predicted each for itself, and compared with each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.config.ranges import NonNegativeInt
from maskmim.config.returned import returned
from maskmim.errors import count_of
from maskmim.methods.masked import (
    MethodError,
    add_hints,
    built,
    captures_of,
    encode_whole,
    for_objective,
    merge_pixels,
    sum_objectives,
    undeclared_calls,
)
from maskmim.methods.view_losses import PAIRS, merge_losses, sum_pairs
from maskmim.methods.view_parts import Parts, callers, chain_of, check_parts
from maskmim.models.calls import refuse_unused, watched, with_calls
from maskmim.models.layers import constraints
from maskmim.models.running_norms import (
    carried_sums,
    initial_norms,
    updated_norms,
    with_norms,
)
from maskmim.reporting.streams import GREY
from maskmim.types import (
    Apply,
    Array,
    Batch,
    Context,
    Encoded,
    LearnedFunction,
    Losses,
    Mask,
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

VIEWS = "views"  # The batch's array of views.
NUMBER = "view"  # What a predictor that reads it finds in `Encoded.given`: the view's number.


def masked_views(
    spec: Spec,
    *,
    model: Callable[[Spec], Net],
    mask: Callable[[Randomness, Context], tuple[Mask, ...]],
    objectives: Mapping[str, Callable[[], Objective]],
    pairs: Mapping[str, Callable[[], PairObjective]],
    teachers: Mapping[str, Callable[[], Teacher]],
    calls: Mapping[str, Callable[[int], LearnedFunction]] = {},
    predicts: tuple[NonNegativeInt, ...] = (0,),
    reads: tuple[tuple[NonNegativeInt, NonNegativeInt], ...] = (),
) -> Method:
    """Compose masked modelling over several views of an example; keywords are config sections.

    model:      brick, spec -> Net, which encodes every view.
    mask:       sampler brick, (randomness, context) -> a Mask for each view, such as those of
                `masks.views`; their counts may differ. It sees the first view's context.
    objectives: bricks by name, () -> Objective, taken on each view of `predicts`; a term is the
                mean over the predicted tokens of these views.
    pairs:      bricks by name, () -> PairObjective, taken on all views, see `objectives.pairs`.
    teachers:   bricks by name, () -> Teacher, as of `methods.masked`; each is asked once for each
                view, and its hints stand in that View's context.
    calls:      bricks by name, width -> LearnedFunction, as of `methods.masked`.
    predicts:   numbers of the views, from 0, whose predictor runs; no predictor runs on the others.
    reads:      pairs (reader, read) of views: the reader's predictor finds in `Encoded.given` what
                the encoder made of the other view, 'memory' f32[B, R + K, D] (its prefix, then its
                tokens), and their places on the grid, 'memory_places' i32[B, K]. Gradients pass.
                A predictor whose `Net.reads` has 'view' finds the view's own number there, i32[].

    The batch holds 'views', [B, V, *shape of the main stream], as an augmentation with
    `facts.augmentation(makes=...)` makes them, or the main stream alone, which then is every view;
    so it is in evaluations. Other arrays of the batch are the same in all views.
    Views of the stream whose masks share the arrays `visible` and `hidden` are encoded once.
    `extra` holds the teachers' arrays by their names, and 'pairs' with those of pair objectives.
    `apply['mask']` and `apply['reconstruct']` are of the first view that predicts; 'masks' has the
    masks of all. `apply['encode']` sees whole examples, as of `methods.masked`.
    Raises MethodError where bricks do not fit, as `methods.masked`, for views that the sampler does
    not draw, and for a view of `predicts` of which the sampler predicts no token.
    """
    net = with_calls(returned(model(spec), Net, "model.brick", model), calls)
    parts = Parts(
        spec,
        net,
        mask,
        built(objectives, Objective, "objectives"),
        built(pairs, PairObjective, PAIRS),
        built(teachers, Teacher, "teachers"),
        tuple(predicts),
        tuple(tuple(pair) for pair in reads),
    )
    check_parts(parts)
    parts = parts._replace(undeclared=undeclared_calls(calls, callers(parts)))
    apply: Apply = {
        "encode": partial(_encode, parts),
        "evaluated": with_norms,
        "mask": partial(_mask, parts),
    }
    if parts.predicts and any(each.pixels for each in parts.objectives.values()):
        apply["reconstruct"] = partial(_reconstruct, parts)
    return Method(
        net=parts.net,
        init=partial(_init, parts),
        freeze=partial(_freeze, parts),
        loss=partial(_loss, parts),
        refresh=partial(_refresh, parts),
        apply=apply,
        chain=chain_of(parts),
        sheets=_sheets(parts),
    )


def _init(parts: Parts, key: Array) -> tuple[Tree, Tree]:
    params = parts.net.init(key)
    bricks = [*parts.teachers.items(), *parts.pairs.items()]
    made = {
        name: brick.init(jax.random.fold_in(key, number), parts.net, params)
        for number, (name, brick) in enumerate(bricks, start=1)
    }
    extra = {name: made[name] for name in parts.teachers}
    kept = {name: made[name] for name in parts.pairs if jax.tree.leaves(made[name])}
    return params, {**extra, **({PAIRS: kept} if kept else {}), **initial_norms(parts.net)}


def _freeze(parts: Parts) -> Tree:
    return {name: teacher.freeze() for name, teacher in parts.teachers.items()}


def _batches(parts: Parts, batch: Batch) -> list[Batch]:
    """Return a batch for each view; one batch where all views are the stream itself."""
    stream = parts.spec.stream
    if VIEWS in batch:
        others = {name: array for name, array in batch.items() if name != VIEWS}
        views = batch[VIEWS]
        return [{**others, stream: views[:, number]} for number in range(views.shape[1])]
    if stream not in batch:
        raise MethodError(
            f"the batch holds {', '.join(sorted(batch))}, but neither '{VIEWS}' nor {stream!r}: "
            "set data.augment to an augmentation that makes one of them, such as "
            "maskmim.data.simple_crop.two_views"
        )
    return [batch]


def _draw_masks(
    parts: Parts, randomness: Randomness, context: Context, shown: int
) -> tuple[Mask, ...]:
    """Return the masks of all views; raise MethodError where they are not those that are needed.

    shown: views in the batch, 1 for the stream itself.
    """
    name = title(parts.mask)
    masks = parts.mask(randomness, context)
    if isinstance(masks, Mask) or not isinstance(masks, tuple | list):
        raise MethodError(
            f"mask: {name} draws one mask, but this method needs one for each view: use a sampler "
            "of maskmim.masks.views, such as maskmim.masks.views.disjoint"
        )
    masks = tuple(returned(each, Mask, "mask.brick", parts.mask) for each in masks)
    if shown not in (1, len(masks)):
        raise MethodError(
            f"the batch has {count_of(shown, 'view')}, but {name} draws "
            f"{count_of(len(masks), 'mask')}: change data.augment or mask"
        )
    numbers = {*parts.predicts, *(view for pair in parts.reads for view in pair)}
    if beyond := sorted(view for view in numbers if view >= len(masks)):
        raise MethodError(
            f"predicts={parts.predicts} and reads={parts.reads} name the view {beyond[0]}, but "
            f"{name} draws {count_of(len(masks), 'mask')}, of views 0 to {len(masks) - 1}"
        )
    return masks


def _forward(
    parts: Parts,
    variables: Variables,
    batch: Batch,
    randomness: Randomness,
    progress: Array,
    *,
    drops: bool = True,
) -> tuple[View, ...]:
    """Run teachers, sampler, encoder and predictor on all views of a batch.

    drops: whether the network drops paths and values, as in training.
    """
    net, params = parts.net, variables.params
    without = jax.lax.stop_gradient(params)
    contexts = [
        Context(each, net.grids, {}, progress, params=without, labels=parts.spec.labels)
        for each in _batches(parts, batch)
    ]
    early = {name: teacher for name, teacher in parts.teachers.items() if not teacher.sees_mask}
    late = {name: teacher for name, teacher in parts.teachers.items() if teacher.sees_mask}
    contexts = [add_hints(early, net, variables, context, None) for context in contexts]
    masks = _draw_masks(parts, randomness, contexts[0], len(contexts))
    if len(contexts) == 1:
        contexts *= len(masks)
    views: list[View] = []
    read = captures_of(parts.objectives)
    for number, (context, mask) in enumerate(zip(contexts, masks, strict=True)):
        inputs, own = net.inputs(context.batch), randomness.inside(f"view {number}")
        encoded = _encoded_before(views, context, mask)
        if encoded is None:
            dropped = own if drops else None
            encoded = net.encode(params, inputs, mask, capture=read, randomness=dropped)
        context = add_hints(late, net, variables, context, mask)
        view = View(net, context, inputs, mask, encoded, {}, variables.extra, params, own)
        views.append(view)
    views = _with_memories(parts.reads, views)
    for number in parts.predicts:
        view = views[number]
        own = view.randomness if drops else None
        encoded = view.encoded
        if NUMBER in net.reads:
            given = {**encoded.given, NUMBER: jnp.int32(number)}
            encoded = encoded._replace(given=given)
        outputs = net.predict(params, encoded, view.mask, randomness=own)
        views[number] = view._replace(outputs=outputs)
    return tuple(view._replace(randomness=view.randomness.inside("objectives")) for view in views)


def _encoded_before(views: list[View], context: Context, mask: Mask) -> Encoded | None:
    """Return what the encoder made of an earlier view with the same arrays as input, else None."""
    for view in views:
        seen = view.mask.visible is mask.visible and view.mask.hidden is mask.hidden
        if seen and view.context.batch is context.batch:
            return view.encoded
    return None


def _with_memories(reads: tuple[tuple[int, int], ...], views: list[View]) -> list[View]:
    """Return the views, the readers among them with what the encoder made of another view."""
    result = list(views)
    for reader, read in reads:
        encoded, other = views[reader].encoded, views[read].encoded
        memory = constraints.concat_tokens(other.prefix, other.tokens)
        given = {**encoded.given, "memory": memory, "memory_places": views[read].mask.visible}
        result[reader] = result[reader]._replace(encoded=encoded._replace(given=given))
    return result


def _loss(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> Losses:
    net, used = watched(parts.net)
    views = _forward(parts._replace(net=net), variables, batch, randomness, progress)
    losses = [sum_objectives(parts.objectives, views[number], number) for number in parts.predicts]
    merged = merge_losses([*losses, sum_pairs(parts.pairs, views)])
    refuse_unused(parts.undeclared, used)
    sums = carried_sums(*(view.encoded for view in views))
    return merged._replace(carry={**merged.carry, **sums})


def _refresh(parts: Parts, variables: Variables, carry: Tree, progress: Array) -> Tree:
    extra = {
        name: teacher.refresh(variables.extra[name], variables.params, carry, progress)
        for name, teacher in parts.teachers.items()
    }
    norms = updated_norms(parts.net, variables.extra, carry)
    if PAIRS not in variables.extra:
        return {**extra, **norms}
    kept = variables.extra[PAIRS]
    pairs = {name: parts.pairs[name].refresh(kept[name], carry[name]) for name in kept}
    return {**extra, PAIRS: pairs, **norms}


def _encode(
    parts: Parts, variables: Variables, batch: Batch, *, capture: tuple[str, ...] = ()
) -> Encoded:
    whole = batch if parts.spec.stream in batch else _batches(parts, batch)[0]
    return encode_whole(parts.net, variables, whole, capture=capture)


def _evaluated(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> tuple[View, ...]:
    """Return the views of a batch as evaluation computes them, without drops."""
    evaluated = with_norms(variables)
    return _forward(parts, evaluated, batch, randomness, jnp.float32(0.0), drops=False)


def _shown(parts: Parts) -> int:
    """Return the number of the view that stands for all in pictures: the first that predicts."""
    return parts.predicts[0] if parts.predicts else 0


def _mask(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Any]:
    """Return mask and inputs of one view, and all masks; they predict nothing where none does."""
    views = _evaluated(parts, variables, batch, randomness)
    shown, masks = views[_shown(parts)], [view.mask for view in views]
    for number in set(range(len(views))) - set(parts.predicts):
        mask = masks[number]
        masks[number] = mask._replace(predict=mask.predict[:, :0], weight=mask.weight[:, :0])
    return {"mask": shown.mask, "inputs": shown.inputs, "masks": tuple(masks)}


def _reconstruct(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Any]:
    """Return the mask, the inputs and the pixels of one view, as `methods.masked` does."""
    view = _evaluated(parts, variables, batch, randomness)[_shown(parts)]
    drawn = {name: each.pixels for name, each in parts.objectives.items() if each.pixels}
    found = [pixels(for_objective(view, name)) for name, pixels in drawn.items()]
    return {"mask": view.mask, "inputs": view.inputs, **merge_pixels(found)}


def _sheets(parts: Parts) -> dict[str, Callable[..., dict[str, Array]]]:
    """Return the pictures that the method can draw: its views, and those of objectives."""
    sheets = {
        name: partial(_sheet, parts, name)
        for name, term in parts.objectives.items()
        if term.shows and parts.predicts
    }
    drawable = parts.net.display and parts.net.restore and len(parts.net.grids) == 1
    return {**({VIEWS: partial(_views_sheet, parts)} if drawable else {}), **sheets}


def _sheet(
    parts: Parts, name: str, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    view = _evaluated(parts, variables, batch, randomness)[_shown(parts)]
    return parts.objectives[name].shows(for_objective(view, name))


def _views_sheet(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    """Draw the picture of each view, and what the encoder sees of it."""
    net, columns = parts.net, {}
    for number, view in enumerate(_evaluated(parts, variables, batch, randomness)):
        patches = jnp.ones_like(net.patchify(view.inputs))
        veil = net.restore(jnp.where(view.mask.hidden[..., None], patches, 0.0))
        picture = net.display(view.inputs)
        columns[f"view {number}"] = picture
        columns[f"seen of view {number}"] = jnp.where(veil > 0, jnp.uint8(GREY), picture)
    return columns
