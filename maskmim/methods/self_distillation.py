"""Self-distillation over several crops: DINO, and with masked crops iBOT and AttMask."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.config.returned import returned
from maskmim.losses.self_distillation import (
    Distillation,
    class_loss,
    patch_loss,
    teacher_targets,
    update_centre,
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
from maskmim.models.layers.patches import gather
from maskmim.models.net import array_of
from maskmim.models.running_norms import refuse_norms
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
    Randomness,
    Spec,
    Teacher,
    Tree,
    Variables,
)


class Parts(NamedTuple):
    """The built bricks of the method; model also builds the network for small crops."""

    spec: Spec
    model: Callable[[Spec], Net]
    net: Net
    mask: Callable[[Randomness, Context], Mask]
    teacher: Teacher
    settings: Distillation


def self_distillation(
    spec: Spec,
    *,
    model: Callable[[Spec], Net],
    mask: Callable[[Randomness, Context], Mask],
    teacher: Callable[[], Teacher],
    distillation: Callable[[], Distillation],
) -> Method:
    """Train a student to predict its EMA teacher's output on other crops and on hidden tokens.

    model:   brick, spec -> Net with the heads 'class' and 'tokens', see `models.projection`.
    mask:    sampler brick that lets every token enter; it may read the teacher's hints.
    teacher: brick, () -> Teacher that gives 'class_logits' and, for a patch loss, 'token_logits' of
             whole crops, such as `teachers.average` of `teachers.projections.projected`.
    distillation: brick of the losses' settings, see `maskmim.losses.self_distillation`.

    The batch holds 'global' u8[B, V, H, W, C] and, with small crops, 'local' u8[B, L, h, w, C], as
    `data.multi_crop` makes them. The teacher sees the V large crops unmasked; the student sees the
    large crops masked and the small ones unmasked. The class loss compares different crops, the
    patch loss the hidden tokens of the same crop, where an unmasked crop counts with a loss of 0.
    Without 'token_logits' there is no patch loss, and no token but the class token has logits.
    The centres of the teacher's logits are EMAs over earlier batches, kept in `extra`.
    `apply['encode']` uses the teacher on batch['image'], as published results do;
    `apply['encode_student']` uses the student.
    Raises MethodError for a sampler that drops tokens and for hints that the teacher does not give.
    Source: DINO (arXiv 2104.14294), main_dino.py; iBOT (arXiv 2111.07832), main_ibot.py; AttMask
    (arXiv 2203.12719), main_attmask.py.
    Difference: teacher temperatures change every step, in the official code every epoch.
    """
    net = returned(model(spec), Net, "model.brick", model)
    refuse_norms(net, "self_distillation")
    averaged = returned(teacher(), Teacher, "teacher.brick", teacher)
    parts = Parts(spec, model, net, mask, averaged, distillation())
    check_hints(mask, {}, {"teacher": parts.teacher})
    needed = {"class_logits", *(["token_logits"] if parts.settings.patch_scale else [])}
    if missing := sorted(needed - set(parts.teacher.gives)):
        raise MethodError(
            f"the teacher does not give {missing}, which the losses need: set config.teacher.find "
            "to maskmim.teachers.projections.projected, or, for the class loss alone, "
            "distillation.patch_scale=0 and find to maskmim.teachers.projections.class_logits"
        )
    return Method(
        net=parts.net,
        init=partial(_init, parts),
        freeze=parts.teacher.freeze,
        loss=partial(_loss, parts),
        refresh=partial(_refresh, parts),
        apply={
            "encode": partial(encode_teacher, parts.net),
            "encode_student": partial(encode_student, parts.net),
            "mask": partial(_mask, parts),
        },
        chain=_chain(parts),
        sheets={"attention": partial(_attention_sheet, parts)},
    )


def _init(parts: Parts, key: Array) -> tuple[Tree, Tree]:
    params = parts.net.init(key)
    average = parts.teacher.init(jax.random.fold_in(key, 1), parts.net, params)
    centres = _zero_centres(parts.net, params)
    kept = {name: centre for name, centre in centres.items() if name in _heads(parts)}
    return params, {"teacher": average, "centre": kept}


def _heads(parts: Parts) -> tuple[str, ...]:
    """Return the heads whose outputs are compared with the teacher's."""
    return ("class", "tokens") if "token_logits" in parts.teacher.gives else ("class",)


def _zero_centres(net: Net, params: Tree) -> dict[str, Array]:
    """Return zeros f32[K] for each head."""
    token = jnp.zeros((1, 1), jnp.int32)
    blank = jnp.zeros((1, 1, net.width))
    mask = Mask(token, token, token.astype(bool), jnp.ones((1, 1)))
    heads = jax.eval_shape(net.predict, params, Encoded(blank, blank), mask)
    return {name: jnp.zeros(head.shape[-1:]) for name, head in heads.items()}


def _hints_and_mask(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> tuple[dict[str, Array], Mask]:
    """Return the teacher's hints on {stream: u8[b, ...]} and the mask sampled with them."""
    net, average = parts.net, variables.extra["teacher"]
    context = Context(batch, net.grids, {}, progress)
    hints = parts.teacher.find(net, average, variables.frozen, context, None)
    hints = jax.lax.stop_gradient(hints)
    drawn = parts.mask(randomness, Context(batch, net.grids, hints, progress))
    mask = returned(drawn, Mask, "mask.brick", parts.mask)
    if mask.visible.shape[1] != context.length:
        raise MethodError(
            f"the sampler lets only {mask.visible.shape[1]} of {context.length} tokens enter the "
            "student, which needs every token: wrap it in maskmim.masks.roles.in_place"
        )
    return hints, mask


def _loss(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> Losses:
    crops = array_of(batch, "global")
    examples, views = crops.shape[:2]
    pictures = as_pictures(parts.spec, crops)
    per_crop = crop_randomness(randomness, views)
    hints, mask = _hints_and_mask(parts, variables, pictures, per_crop, progress)
    if "tokens" not in _heads(parts):
        mask = mask._replace(predict=mask.predict[:, :0], weight=mask.weight[:, :0])
    outputs = _student_outputs(
        parts.net, variables.params, pictures, mask, per_crop.inside("global")
    )
    settings, centre = parts.settings, variables.extra["centre"]

    student = [by_example(outputs["class"][:, 0], views)]
    if "local" in batch:
        student.append(_local_logits(parts, variables.params, batch["local"], randomness))
    temperature = settings.class_temperature(progress)
    targets = teacher_targets(hints["class_logits"], centre["class"], temperature)
    targets = by_example(targets, views)
    class_losses = class_loss(jnp.concatenate(student, 1), targets, settings.student_temperature)
    terms = {"class": Mean(jnp.sum(class_losses), jnp.float32(examples))}
    scales = {"class": settings.class_scale}
    if "tokens" in _heads(parts):
        temperature = settings.patch_temperature(progress)
        wanted = _token_targets(hints["token_logits"], mask, centre["tokens"], temperature)
        patch_losses = patch_loss(
            outputs["tokens"], wanted, mask.weight, settings.student_temperature
        )
        terms["patch"] = Mean(jnp.sum(patch_losses), jnp.float32(examples * views))
        scales["patch"] = settings.patch_scale
    return Losses(terms, scales, _metrics(mask, student[0], targets), _logit_sums(hints))


def _token_targets(logits: Array, mask: Mask, centre: Array, temperature: Array) -> Array:
    """Return the teacher's probabilities at the predicted tokens, f32[B, P, K]."""
    if mask.predict.shape != logits.shape[:2]:  # All tokens in their order need no gathering.
        logits = gather(logits, mask.predict)
    return teacher_targets(logits, centre, temperature)


def _student_outputs(
    net: Net, params: Tree, batch: Batch, mask: Mask, randomness: Randomness
) -> dict[str, Array]:
    """Return the student's logits of masked pictures, by head."""
    encoded = net.encode(params, net.inputs(batch), mask, randomness=randomness)
    return net.predict(params, encoded, mask)


def _local_logits(parts: Parts, params: Tree, crops: Array, randomness: Randomness) -> Array:
    """Return the student's class logits of the unmasked small crops u8[B, L, h, w, C]."""
    examples, count = crops.shape[:2]
    net, encoded = encode_small(parts.model, parts.spec, params, crops, randomness)
    empty = jnp.zeros((examples * count, 0), jnp.int32)
    no_tokens = Mask(empty, empty, empty.astype(bool), empty.astype(jnp.float32))
    return by_example(net.predict(params, encoded, no_tokens)["class"][:, 0], count)


def _metrics(mask: Mask, student: Array, targets: Array) -> dict[str, Mean]:
    """Return the entropy of class targets, the agreement across two crops, the share hidden."""
    entropy = jnp.sum(jax.scipy.special.entr(targets), axis=-1)
    agreement = jnp.argmax(targets[:, 0], -1) == jnp.argmax(student[:, -1], -1)
    values = {"entropy": entropy, "agreement": agreement, "hidden": mask.hidden}
    return {
        name: Mean(jnp.sum(value.astype(jnp.float32)), jnp.float32(value.size))
        for name, value in values.items()
    }


def _logit_sums(hints: dict[str, Array]) -> dict[str, Array]:
    """Sum the teacher's logits over crops; token logits are first averaged over a crop's tokens."""
    logits = {"class": hints["class_logits"]}
    if "token_logits" in hints:
        logits["tokens"] = jnp.mean(hints["token_logits"], axis=1)
    sums = {name: jnp.sum(values, axis=0) for name, values in logits.items()}
    return {**sums, "count": jnp.float32(len(logits["class"]))}


def _refresh(parts: Parts, variables: Variables, carry: Tree, progress: Array) -> Tree:
    momentum, count = parts.settings.centre_momentum, carry["count"]
    centre = {
        name: update_centre(value, carry[name], count, momentum)
        for name, value in variables.extra["centre"].items()
    }
    average = parts.teacher.refresh(variables.extra["teacher"], variables.params, carry, progress)
    return {"teacher": average, "centre": centre}


def _mask(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Any]:
    pictures = whole_pictures(parts.spec, batch)
    _, mask = _hints_and_mask(parts, variables, pictures, randomness, jnp.float32(0.0))
    return {"mask": mask, "inputs": parts.net.inputs(pictures)}


def _attention_sheet(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    """Draw pictures, the teacher's attention from least (black) to most, and the hidden tokens."""
    pictures = whole_pictures(parts.spec, batch)
    hints, mask = _hints_and_mask(parts, variables, pictures, randomness, jnp.float32(0.0))
    inputs = parts.net.inputs(pictures)
    values = parts.net.patchify(inputs).shape[-1]

    def to_pixels(tokens: Array) -> Array:
        """Repeat a token's value over its patch: f32[B, N] -> f32[B, H, W, C]."""
        return parts.net.restore(jnp.repeat(tokens[..., None], values, axis=-1))

    attention = hints["attention"]
    least, most = (f(attention, axis=1, keepdims=True) for f in (jnp.min, jnp.max))
    heat = to_pixels((attention - least) / jnp.maximum(most - least, 1e-9))
    seen = jnp.where(to_pixels(mask.hidden.astype(jnp.float32)) > 0, 0.0, inputs)
    return {
        "picture": parts.net.display(inputs),
        "teacher's attention": jnp.round(255 * heat).astype(jnp.uint8),
        "what is hidden": parts.net.display(seen),
    }


def _chain(parts: Parts) -> tuple[tuple[str, str], ...]:
    """Return `Method.chain`: tokens, teacher, sampler, networks, objectives."""
    grid = "x".join(map(str, parts.net.grids[parts.spec.stream]))
    patch = ("objective patch", "cross-entropy with the teacher on the hidden tokens")
    return (
        ("tokens", f"{parts.spec.stream} {grid}, of large crops"),
        ("teacher", f"gives {', '.join(parts.teacher.gives)}"),
        ("sampler", title(parts.mask)),
        *parts.net.says,
        ("objective class", "cross-entropy with the teacher on other crops, small ones too"),
        *([patch] if "tokens" in _heads(parts) else []),
    )
