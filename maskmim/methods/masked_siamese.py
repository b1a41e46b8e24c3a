"""Assign crops with dropped patches to the prototypes of an average's whole crop: MSN."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.config.returned import returned
from maskmim.losses.assignments import (
    Assignments,
    assignment_loss,
    balanced_targets,
    entropy_gap,
)
from maskmim.methods.crops import (
    as_pictures,
    by_example,
    crop_randomness,
    encode_small,
    encode_student,
    encode_teacher,
    whole_pictures,
)
from maskmim.methods.masked import MethodError, check_hints
from maskmim.models.calls import with_calls
from maskmim.models.layers.posembed import resize_positions
from maskmim.models.net import array_of
from maskmim.models.running_norms import refuse_norms
from maskmim.reporting.streams import GREY
from maskmim.types import (
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
    Randomness,
    Spec,
    Teacher,
    Tree,
    Variables,
)

CALLS = PROJECTOR, PROTOTYPES = "projector", "prototypes"


class Parts(NamedTuple):
    """The built bricks of the method; model also builds the network for small crops."""

    spec: Spec
    model: Callable[[Spec], Net]
    net: Net
    mask: Callable[[Randomness, Context], Mask]
    teacher: Teacher
    settings: Assignments


def masked_siamese(
    spec: Spec,
    *,
    model: Callable[[Spec], Net],
    mask: Callable[[Randomness, Context], Mask],
    teacher: Callable[[], Teacher],
    calls: Mapping[str, Callable[[int], LearnedFunction]],
    assignments: Callable[[], Assignments],
) -> Method:
    """Let crops be assigned to prototypes as the EMA's view of another crop of the picture is.

    model:   brick, spec -> Net with a class token, without heads, such as `models.msn.vit_msn`.
    mask:    sampler brick of the large anchor crops, such as `masks.uniform.shared`.
    teacher: brick, () -> Teacher that gives 'projection' f32[B, D] of whole crops, such as
             `teachers.average` of `teachers.projections.projected_class`.
    calls:   bricks, width -> LearnedFunction: 'projector', of class tokens, and 'prototypes', from
             projections to cosines f32[..., K].
    assignments: brick of the losses' settings, see `maskmim.losses.assignments`.

    The batch holds 'global' u8[B, V, H, W, C] and, with small crops, 'local' u8[B, L, h, w, C], as
    `data.multi_crop` makes them. The first large crop is the target, seen whole by the teacher. The
    others, with hidden tokens left out, and the small ones, whole, are anchors; large and small
    ones are projected apart, so that batch norms do not mix them. Prototypes learn from anchors.
    The term 'assignment' is the mean over anchors. 'me_max', and the balanced targets, are those of
    the global batch on any mesh. With micro-batches both are of the micro-batch, as are batch
    norms: losses depend on their number.
    `apply['encode']` uses the teacher on batch['image'], as published results do;
    `apply['encode_student']` uses the student.
    Metrics: 'prototypes', how many are the nearest of a target; 'target_entropy'; 'agreement' of
    the first anchor with its target; 'hidden'.
    Raises MethodError for other functions than these two, for hints that the teacher does not give,
    for a model without a class token and for fewer than two large crops.
    Source: MSN (arXiv 2204.07141), src/msn_train.py and src/losses.py, facebookresearch/msn.
    """
    own = returned(model(spec), Net, "model.brick", model)
    refuse_norms(own, "masked_siamese")
    averaged = returned(teacher(), Teacher, "teacher.brick", teacher)
    check_hints(mask, {}, {})
    _check_names(calls, averaged.gives)
    parts = Parts(spec, model, with_calls(own, calls), mask, averaged, assignments())
    return Method(
        net=parts.net,
        init=partial(_init, parts),
        freeze=averaged.freeze,
        loss=partial(_loss, parts),
        refresh=partial(_refresh, parts),
        apply={
            "encode": partial(encode_teacher, parts.net),
            "encode_student": partial(encode_student, parts.net),
            "mask": partial(_mask, parts),
        },
        chain=_chain(parts),
        sheets={"views": partial(_views_sheet, parts)},
    )


def _check_names(calls: Iterable[str], gives: Iterable[str]) -> None:
    """Raise MethodError unless there are both functions, and the teacher's projections."""
    if set(calls) != set(CALLS):
        raise MethodError(
            f"calls has {', '.join(sorted(calls)) or 'no functions'}, but the method calls "
            f"{' and '.join(CALLS)}: set config.calls to these two"
        )
    if "projection" not in gives:
        raise MethodError(
            "the teacher does not give 'projection', which the targets are made of: set "
            "config.teacher.find to maskmim.teachers.projections.projected_class"
        )


def _init(parts: Parts, key: Array) -> tuple[Tree, Tree]:
    params = parts.net.init(key)
    return params, {"teacher": parts.teacher.init(jax.random.fold_in(key, 1), parts.net, params)}


def _loss(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> Losses:
    params, settings = variables.params, parts.settings
    crops = array_of(batch, "global")
    if crops.shape[1] < 2:
        raise MethodError(
            "the batch has one large crop, but a target and an anchor are needed: set data.augment "
            "to one that makes two, such as maskmim.data.multi_crop.multi_crop"
        )
    target = _target(parts, variables, crops[:, 0], progress)
    targets = balanced_targets(target, settings)

    large, mask = _large_projections(parts, params, crops[:, 1:], randomness, progress)
    projections = [large]
    if "local" in batch:
        projections.append(_small_projections(parts, params, batch["local"], randomness))
    anchors = parts.net.calls[PROTOTYPES](params, jnp.concatenate(projections, axis=1))

    examples = jnp.float32(len(crops))
    losses = assignment_loss(anchors, targets, settings.temperature)
    gap = entropy_gap(anchors, settings.temperature)
    terms = {
        "assignment": Mean(jnp.sum(losses), examples),
        "me_max": Mean(gap * examples, examples),
    }
    scales = {"assignment": 1.0, "me_max": settings.me_max_scale}
    return Losses(terms, scales, _metrics(targets, anchors, mask), {})


def _target(parts: Parts, variables: Variables, crops: Array, progress: Array) -> Array:
    """Return the cosines f32[B, K] of what the teacher makes of whole crops; no gradient passes."""
    without = jax.lax.stop_gradient(variables.params)
    context = Context({parts.spec.stream: crops}, parts.net.grids, {}, progress, params=without)
    extra = variables.extra["teacher"]
    hints = parts.teacher.find(parts.net, extra, variables.frozen, context, None)
    projection = jax.lax.stop_gradient(hints["projection"])
    return parts.net.calls[PROTOTYPES](without, projection)


def _large_projections(
    parts: Parts, params: Tree, crops: Array, randomness: Randomness, progress: Array
) -> tuple[Array, Mask]:
    """Return f32[B, V, D] of masked large crops u8[B, V, ...], and their masks."""
    count = crops.shape[1]
    pictures = as_pictures(parts.spec, crops)
    per_crop = crop_randomness(randomness, count)
    mask = _draw_mask(parts, pictures, per_crop, progress)
    inputs = parts.net.inputs(pictures)
    encoded = parts.net.encode(params, inputs, mask, randomness=per_crop.inside("global"))
    return _project(parts, params, encoded, count), mask


def _small_projections(parts: Parts, params: Tree, crops: Array, randomness: Randomness) -> Array:
    """Return f32[B, L, D] of whole small crops u8[B, L, h, w, C]."""
    arguments = parts.model, parts.spec, params, crops, randomness
    _, encoded = encode_small(*arguments, resize=resize_positions)
    return _project(parts, params, encoded, crops.shape[1])


def _project(parts: Parts, params: Tree, encoded: Encoded, count: int) -> Array:
    """Return the projections of class tokens, split by example: f32[B, count, D]."""
    if not encoded.prefix.shape[1]:
        raise MethodError(
            "the method compares class tokens, which the model lacks: use one that has them, such "
            "as maskmim.models.msn.vit_msn"
        )
    projected = parts.net.calls[PROJECTOR](params, encoded.prefix[:, 0].astype(jnp.float32))
    return by_example(projected, count)


def _draw_mask(parts: Parts, pictures: Batch, randomness: Randomness, progress: Array) -> Mask:
    drawn = parts.mask(randomness, Context(pictures, parts.net.grids, {}, progress))
    return returned(drawn, Mask, "mask.brick", parts.mask)


def _metrics(targets: Array, anchors: Array, mask: Mask) -> dict[str, Mean]:
    """Return what shows a collapse, and the share of hidden tokens."""
    examples = jnp.float32(len(targets))
    nearest = jnp.argmax(targets, axis=-1)
    used = jnp.sum(jnp.zeros(targets.shape[-1]).at[nearest].set(1.0))
    agreement = nearest == jnp.argmax(anchors[:, 0], axis=-1)
    values = {
        "target_entropy": jnp.sum(jax.scipy.special.entr(targets), axis=-1),
        "agreement": agreement.astype(jnp.float32),
        "hidden": mask.hidden.astype(jnp.float32),
    }
    means = {name: Mean(jnp.sum(x), jnp.float32(x.size)) for name, x in values.items()}
    return {"prototypes": Mean(used * examples, examples), **means}


def _refresh(parts: Parts, variables: Variables, carry: Tree, progress: Array) -> Tree:
    teacher = parts.teacher.refresh(variables.extra["teacher"], variables.params, carry, progress)
    return {"teacher": teacher}


def _mask(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Any]:
    """Return mask and inputs of the first large anchor; nothing is predicted."""
    pictures = whole_pictures(parts.spec, batch, crop=1)
    mask = _draw_mask(parts, pictures, randomness, jnp.float32(0.0))
    mask = mask._replace(predict=mask.predict[:, :0], weight=mask.weight[:, :0])
    return {"mask": mask, "inputs": parts.net.inputs(pictures)}


def _views_sheet(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    """Draw the target's crop, the first large anchor, and what of it enters the encoder."""
    net, drawn = parts.net, _mask(parts, variables, batch, randomness)
    patches = jnp.ones_like(net.patchify(drawn["inputs"]))
    veil = net.restore(jnp.where(drawn["mask"].hidden[..., None], patches, 0.0))
    anchor = net.display(drawn["inputs"])
    return {
        "target": net.display(net.inputs(whole_pictures(parts.spec, batch))),
        "anchor": anchor,
        "seen of the anchor": jnp.where(veil > 0, jnp.uint8(GREY), anchor),
    }


def _chain(parts: Parts) -> tuple[tuple[str, str], ...]:
    """Return `Method.chain`: tokens, teacher, sampler, networks, objectives."""
    grid = "x".join(map(str, parts.net.grids[parts.spec.stream]))
    settings = parts.settings
    return (
        ("tokens", f"{parts.spec.stream} {grid}, of large crops"),
        ("teacher", f"gives {', '.join(parts.teacher.gives)} of the first, whole"),
        ("sampler", f"{title(parts.mask)}, of the other large crops"),
        *parts.net.says,
        ("objective assignment", f"cross-entropy at temperature {settings.temperature:g}"),
        ("objective me_max", f"log K - entropy of the mean, scale {settings.me_max_scale:g}"),
    )
