"""Self-distillation over several crops with masked crops: iBOT's frame, in which AttMask lives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.losses.self_distillation import Distillation, class_loss, moved, patch_loss, targets
from maskmim.methods.masked import MethodError, check_hints
from maskmim.models.layers.patches import gather
from maskmim.models.other_size import other_size
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
    """What the method is composed of, built; model is kept to build it for the small crops."""

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
    """A student learns what an average of itself says of other crops, and of what is hidden.

    model:   brick, spec -> Net with the heads 'class' and 'tokens', see `models.projection`.
    mask:    sampler brick that lets every token enter; it may read the teacher's hints.
    teacher: brick, () -> Teacher that gives 'class_logits' and 'token_logits' of whole crops, such
             as `teachers.average` of `teachers.projections.projected`.
    distillation: brick of the losses' settings, see `maskmim.losses.self_distillation`.

    The batch holds 'global' u8[B, V, H, W, C] and, where there are small crops, 'local'
    u8[B, L, h, w, C], as `data.multi_crop` makes them. The teacher sees the V large crops whole,
    the student sees them masked and the small ones whole. The class loss is between different
    crops, the patch loss on hidden tokens of the same crop; a crop that is left whole counts there
    with a loss of 0. Centres of the teacher's logits are averages over the batches before, kept in
    `extra`.
    `apply['encode']` is the average on batch['image'], of which published results are;
    `apply['encode_student']` the student.
    Raises MethodError for a mask that leaves tokens out and for hints that nobody gives.
    Source: iBOT (arXiv 2111.07832), main_ibot.py; AttMask (arXiv 2203.12719), main_attmask.py.
    Differences: teacher temperatures change with every step, there once an epoch.
    """
    parts = Parts(spec, model, model(spec), mask, teacher(), distillation())
    check_hints(mask, {}, {"teacher": parts.teacher})
    missing = {"class_logits", "token_logits"} - set(parts.teacher.gives)
    if missing:
        raise MethodError(
            f"the teacher does not give {sorted(missing)}, which the losses need: let "
            "config.teacher.find be maskmim.teachers.projections.projected"
        )
    return Method(
        net=parts.net,
        init=partial(_init, parts),
        freeze=parts.teacher.freeze,
        loss=partial(_loss, parts),
        refresh=partial(_refresh, parts),
        apply={
            "encode": partial(_encode_teacher, parts),
            "encode_student": partial(_encode_student, parts),
            "mask": partial(_draw, parts),
        },
        chain=_describe(parts),
        sheets={"attention": partial(_show, parts)},
    )


def _init(parts: Parts, key: Array) -> tuple[Tree, Tree]:
    params = parts.net.init(key)
    average = parts.teacher.init(jax.random.fold_in(key, 1), parts.net, params)
    return params, {"teacher": average, "centre": _centres(parts.net, params)}


def _centres(net: Net, params: Tree) -> dict[str, Array]:
    """Zeros f32[K] for each head."""
    place = jnp.zeros((1, 1), jnp.int32)
    blank = jnp.zeros((1, 1, net.width))
    mask = Mask(place, place, place.astype(bool), jnp.ones((1, 1)))
    heads = jax.eval_shape(net.predict, params, Encoded(blank, blank), mask)
    return {name: jnp.zeros(head.shape[-1:]) for name, head in heads.items()}


def per_crop(randomness: Randomness, crops: int) -> Randomness:
    """Randomness of each of so many crops of every example; what is shared stays shared."""
    places = randomness.slots[:, None] * crops + jnp.arange(crops, dtype=jnp.uint32)
    return randomness._replace(slots=places.reshape(-1))


def _ask(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> tuple[dict[str, Array], Mask]:
    """What the teacher finds of whole pictures {stream: u8[b, ...]}, and the mask drawn from it."""
    net, own = parts.net, (variables.extra["teacher"], variables.frozen)
    context = Context(batch, net.grids, {}, progress)
    hints = jax.lax.stop_gradient(parts.teacher.find(net, *own, context, None))
    drawn = parts.mask(randomness, Context(batch, net.grids, hints, progress))
    if drawn.visible.shape[1] != context.length:
        raise MethodError(
            f"only {drawn.visible.shape[1]} of {context.length} tokens enter the student, whose "
            "targets are those of every token: wrap the sampler in maskmim.masks.roles.in_place"
        )
    return hints, drawn


def _loss(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> Losses:
    crops = batch["global"]
    examples, views = crops.shape[:2]
    pictures = {parts.spec.stream: crops.reshape(-1, *crops.shape[2:])}
    drawing = per_crop(randomness, views)
    hints, mask = _ask(parts, variables, pictures, drawing, progress)
    outputs = _student(parts.net, variables.params, pictures, mask, drawing.inside("global"))
    settings, centre = parts.settings, variables.extra["centre"]

    said = [_by_example(outputs["class"][:, 0], views)]
    if "local" in batch:
        said.append(_small(parts, variables.params, batch["local"], randomness))
    sharp = settings.class_temperature(progress)
    wanted = _by_example(targets(hints["class_logits"], centre["class"], sharp), views)
    between = class_loss(jnp.concatenate(said, 1), wanted, settings.student_temperature)

    logits = hints["token_logits"]
    if mask.predict.shape != logits.shape[:2]:  # All tokens in their order need no gathering.
        logits = gather(logits, mask.predict)
    hidden = targets(logits, centre["tokens"], settings.patch_temperature(progress))
    within = patch_loss(outputs["tokens"], hidden, mask.weight, settings.student_temperature)

    terms = {
        "class": Mean(jnp.sum(between), jnp.float32(examples)),
        "patch": Mean(jnp.sum(within), jnp.float32(examples * views)),
    }
    scales = {"class": settings.class_scale, "patch": settings.patch_scale}
    return Losses(terms, scales, _metrics(mask, said[0], wanted), _sums(hints))


def _student(
    net: Net, params: Tree, batch: Batch, mask: Mask, randomness: Randomness
) -> dict[str, Array]:
    """The student's logits of masked pictures, by head."""
    encoded = net.encode(params, net.inputs(batch), mask, randomness=randomness)
    return net.predict(params, encoded, mask)


def _small(parts: Parts, params: Tree, crops: Array, randomness: Randomness) -> Array:
    """The student's class logits of the small crops u8[B, L, h, w, C], which it sees whole."""
    examples, count = crops.shape[:2]
    net = other_size(parts.model, parts.spec, crops.shape[2:-1])
    inputs = net.inputs({parts.spec.stream: crops.reshape(-1, *crops.shape[2:])})
    inside = per_crop(randomness, count).inside("local")
    encoded = net.encode(params, inputs, None, randomness=inside)
    none = jnp.zeros((examples * count, 0), jnp.int32)
    no_tokens = Mask(none, none, none.astype(bool), none.astype(jnp.float32))
    return _by_example(net.predict(params, encoded, no_tokens)["class"][:, 0], count)


def _by_example(array: Array, crops: int) -> Array:
    """[B * crops, ...] -> [B, crops, ...]."""
    return array.reshape(-1, crops, *array.shape[1:])


def _metrics(mask: Mask, student: Array, wanted: Array) -> dict[str, Mean]:
    """How sharp the class targets are, whether student and teacher agree on two crops, and the
    share of hidden tokens."""
    entropy = jnp.sum(jax.scipy.special.entr(wanted), axis=-1)
    agree = jnp.argmax(wanted[:, 0], -1) == jnp.argmax(student[:, -1], -1)
    found = {"entropy": entropy, "agreement": agree, "hidden": mask.hidden}
    return {
        name: Mean(jnp.sum(value.astype(jnp.float32)), jnp.float32(value.size))
        for name, value in found.items()
    }


def _sums(hints: dict[str, Array]) -> dict[str, Array]:
    """Sums of the teacher's logits over crops; of a crop's tokens the mean counts."""
    tokens = jnp.mean(hints["token_logits"], axis=1)
    found = {"class": hints["class_logits"], "tokens": tokens}
    return {name: jnp.sum(value, axis=0) for name, value in found.items()} | {
        "count": jnp.float32(len(tokens))
    }


def _refresh(parts: Parts, variables: Variables, carry: Tree, progress: Array) -> Tree:
    old, kept = variables.extra["centre"], parts.settings.centre_momentum
    centre = {name: moved(value, carry[name], carry["count"], kept) for name, value in old.items()}
    own = variables.extra["teacher"]
    average = parts.teacher.refresh(own, variables.params, carry, progress)
    return {"teacher": average, "centre": centre}


def _encode_student(
    parts: Parts, variables: Variables, batch: Batch, *, capture: tuple[str, ...] = ()
) -> Encoded:
    return parts.net.encode(variables.params, parts.net.inputs(batch), None, capture=capture)


def _encode_teacher(
    parts: Parts, variables: Variables, batch: Batch, *, capture: tuple[str, ...] = ()
) -> Encoded:
    average = variables._replace(params=variables.extra["teacher"])
    return _encode_student(parts, average, batch, capture=capture)


def _whole(parts: Parts, batch: Batch) -> Batch:
    """The pictures of a batch: those of an evaluation, or the first large crops of a training."""
    stream = parts.spec.stream
    return {stream: batch[stream] if stream in batch else batch["global"][:, 0]}


def _draw(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Any]:
    pictures = _whole(parts, batch)
    _, mask = _ask(parts, variables, pictures, randomness, jnp.float32(0.0))
    return {"mask": mask, "inputs": parts.net.inputs(pictures)}


def _show(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    """Pictures, the teacher's attention from the least (black) to the most, what is hidden."""
    pictures = _whole(parts, batch)
    hints, mask = _ask(parts, variables, pictures, randomness, jnp.float32(0.0))
    inputs = parts.net.inputs(pictures)
    values = parts.net.patchify(inputs).shape[-1]

    def over(tokens: Array) -> Array:
        """f32[B, N] -> f32[B, H, W, C], one value for all pixels of a patch."""
        return parts.net.restore(jnp.repeat(tokens[..., None], values, axis=-1))

    attention = hints["attention"]
    least, most = (f(attention, axis=1, keepdims=True) for f in (jnp.min, jnp.max))
    heat = over((attention - least) / jnp.maximum(most - least, 1e-9))
    shown = jnp.where(over(mask.hidden.astype(jnp.float32)) > 0, 0.0, inputs)
    return {
        "picture": parts.net.display(inputs),
        "teacher's attention": jnp.round(255 * heat).astype(jnp.uint8),
        "what is hidden": parts.net.display(shown),
    }


def _describe(parts: Parts) -> tuple[tuple[str, str], ...]:
    """The chain as lines for people."""
    grid = "x".join(map(str, parts.net.grids[parts.spec.stream]))
    return (
        ("tokens", f"{parts.spec.stream} {grid}, of large crops"),
        ("teacher", f"gives {', '.join(parts.teacher.gives)}"),
        ("sampler", title(parts.mask)),
        *parts.net.says,
        ("objective class", "cross-entropy with the teacher on other crops, small ones too"),
        ("objective patch", "cross-entropy with the teacher on the hidden tokens"),
    )
