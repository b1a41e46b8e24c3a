"""Masked prediction of the codes of pictures, by a transformer that also generates: MaskGIT.

Source: MaskGIT (arXiv 2202.04200), section 3; configs/maskgit_class_cond_config.py, libml/losses.py
and inference.py of google-research/maskgit, which has no training loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypedDict

import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.config.returned import returned
from maskmim.errors import UserError
from maskmim.generate.repaint import blend_repainted, tokens_in_box
from maskmim.methods.masked import check_loss_shape
from maskmim.models.token_transformer import TokenModel
from maskmim.objectives.classification import accuracy
from maskmim.reporting.streams import GREY
from maskmim.targets.codes import repeat_to_pixels
from maskmim.teachers.picture_codes import PictureCodes, codes_of, picture_of_codes
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
    Variables,
)


class LabelError(UserError, ValueError):
    """A label set that the config does not declare."""


class Condition(TypedDict):
    """What codes are conditioned on: the name of a label set, '' for nothing."""

    label: str


class Parts(NamedTuple):
    """The built bricks of the method, see `masked_tokens`; the label set and its classes."""

    tokenizer: PictureCodes
    model: TokenModel
    mask: Callable[[Randomness, Context], Mask]
    loss: Callable[[Array, Array], Array]
    decode: Callable[..., Array]
    label: str
    classes: int

    @property
    def net(self) -> Net:
        """Return the tokenizer's network."""
        return self.tokenizer.net

    @property
    def grid(self) -> tuple[int, ...]:
        """Return the token grid."""
        (grid,) = self.net.grids.values()
        return grid


def masked_tokens(
    spec: Spec,
    *,
    tokenizer: Callable[[Spec], PictureCodes],
    model: Callable[[int, int, int], TokenModel],
    mask: Callable[[Randomness, Context], Mask],
    token_loss: Callable[[Array, Array], Array],
    condition: Condition,
    generation: Callable[..., Array],
) -> Method:
    """Train a model to predict hidden codes of a frozen tokenizer from the visible ones.

    tokenizer:  brick, spec -> PictureCodes.
    model:      brick, (codes, classes, tokens) -> TokenModel.
    mask:       sampler brick; hidden tokens are unknown to the model.
    token_loss: brick, (logits f32[B, N, codes], codes i32[B, N]) -> f32[B, N].
    condition:  {'label': name of a set of spec.labels}, '' for an unconditional model. A batch
                without labels, such as pictures for sheets, has no class.
    generation: brick as `generate.parallel.decode`.

    The loss is averaged over the hidden tokens of an example and then over examples, so that every
    example has the same weight, except those that hide nothing, which have none.
    `apply` has 'codes', 'draw' and 'generate', which fills in tokens equal to `TokenModel.mask_id`.
    Raises LabelError for a set that spec.labels lacks.
    """
    frozen = returned(tokenizer(spec), PictureCodes, "tokenizer.brick", tokenizer)
    (grid,) = frozen.net.grids.values()
    classes = _classes(spec, condition["label"])
    network = model(frozen.codes, classes, grid[0] * grid[1])
    network = returned(network, TokenModel, "model.brick", model)
    parts = Parts(frozen, network, mask, token_loss, generation, condition["label"], classes)
    return Method(
        net=frozen.net,
        init=lambda key: (network.init(key), ()),
        freeze=frozen.freeze,
        loss=partial(_loss, parts),
        refresh=lambda variables, carry, progress: variables.extra,
        apply={
            "encode": partial(_encode, parts),
            "mask": partial(_mask, parts),
            "codes": partial(_codes, parts),
            "draw": partial(_draw, parts),
            "generate": partial(_generate, parts),
        },
        chain=(
            ("tokens", f"image {grid[0]}x{grid[1]}, of {frozen.codes} codes"),
            ("sampler", title(mask)),
            *network.says,
            ("loss", title(token_loss)),
            ("generation", title(generation)),
        ),
        sheets={"samples": partial(_samples, parts)},
    )


def _classes(spec: Spec, label: str) -> int:
    """Return the number of classes of a label set, 0 for the set ''."""
    if label and label not in spec.labels:
        raise LabelError(
            f"condition.label is {label!r}, input.labels has {sorted(spec.labels) or 'no sets'}: "
            f"declare the number of its classes, as by --config.input.labels.{label}=1000, or set "
            "condition.label= for a model without classes"
        )
    return spec.labels[label] if label else 0


def _codes(parts: Parts, variables: Variables, batch: Batch) -> Array:
    return codes_of(parts.net, variables.frozen, parts.net.inputs(batch))


def _draw(parts: Parts, variables: Variables, codes: Array) -> Array:
    return parts.net.display(picture_of_codes(parts.net, variables.frozen, codes))


def _labels(parts: Parts, batch: Batch, examples: int) -> Array:
    """Return the class of each example, -1 for none: i32[B]."""
    if not parts.label or "label" not in batch:
        return jnp.full((examples,), -1, jnp.int32)
    return batch["label"][parts.label]


def _loss(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> Losses:
    codes = _codes(parts, variables, batch)
    hidden = _drawn(parts, batch, randomness, progress).hidden
    visible = jnp.where(hidden, parts.model.mask_id, codes)
    label = _labels(parts, batch, len(codes))
    encoded = parts.model.encode(variables.params, visible, label, randomness)
    logits = parts.model.logits(variables.params, encoded)
    hidden = hidden.astype(jnp.float32)
    weight = hidden / jnp.maximum(jnp.sum(hidden, axis=-1, keepdims=True), 1.0)
    per_token = parts.loss(logits, codes)
    check_loss_shape("token_loss", per_token, weight)
    terms = {"codes": Mean(jnp.sum(per_token * weight), jnp.sum(weight))}
    metrics = {
        "accuracy": Mean(jnp.sum(accuracy(logits, codes) * hidden), jnp.sum(hidden)),
        "hidden": Mean(jnp.sum(hidden), jnp.float32(hidden.size)),
    }
    return Losses(terms, {"codes": 1.0}, metrics, ())


def _drawn(parts: Parts, batch: Batch, randomness: Randomness, progress: Array | float) -> Mask:
    mask = parts.mask(randomness, Context(batch, parts.net.grids, {}, progress))
    return returned(mask, Mask, "mask.brick", parts.mask)


def _encode(parts: Parts, variables: Variables, batch: Batch) -> Encoded:
    """Return the tokens of whole pictures after the last block, without a class."""
    codes = _codes(parts, variables, batch)
    label = jnp.full((len(codes),), -1, jnp.int32)
    return parts.model.encode(variables.params, codes, label)


def _mask(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Any]:
    return {"mask": _drawn(parts, batch, randomness, 0.0), "inputs": parts.net.inputs(batch)}


def _generate(
    parts: Parts,
    variables: Variables,
    tokens: Array,
    label: Array,
    randomness: Randomness,
    *,
    start: int = 0,
) -> Array:
    def logits_of(tokens: Array) -> Array:
        encoded = parts.model.encode(variables.params, tokens, label)
        return parts.model.logits(variables.params, encoded)

    return parts.decode(logits_of, tokens, parts.model.mask_id, randomness, start)


def _samples(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    """Draw pictures from their codes, with the right half repainted, and generated from nothing.

    A conditional model generates the next class in each row.
    """
    net, unknown = parts.net, parts.model.mask_id
    inputs, codes = net.inputs(batch), _codes(parts, variables, batch)
    height, width = inputs.shape[1:3]
    classes = parts.classes
    label = randomness.slots.astype(jnp.int32) % classes if classes else jnp.full(len(codes), -1)
    box = (0, width // 2, height, width - width // 2)
    right = tokens_in_box(box, size=(height, width), grid=parts.grid, margin=0)
    left_half = jnp.where(right, unknown, codes)
    completed = _generate(parts, variables, left_half, label, randomness.inside("paint"))[-1]
    painted = picture_of_codes(net, variables.frozen, completed)
    rows = jnp.broadcast_to(jnp.asarray(right), codes.shape)
    repainted = blend_repainted(inputs, painted, rows, parts.grid)
    right_pixels = repeat_to_pixels(right[None, :, None], parts.grid, (height, width))
    all_unknown = jnp.full(codes.shape, unknown, codes.dtype)
    steps = _generate(parts, variables, all_unknown, label, randomness.inside("samples"))
    return {
        "image": net.display(inputs),
        "from its codes": _draw(parts, variables, codes),
        "right half unknown": jnp.where(right_pixels, jnp.uint8(GREY), net.display(inputs)),
        "right half repainted": net.display(repainted),
        "sample, first step": _draw(parts, variables, steps[0]),
        f"sample, step {len(steps)}": _draw(parts, variables, steps[-1]),
    }
