"""Masked codes of pictures, predicted by a transformer that writes pictures too: MaskGIT.

Source: MaskGIT (arXiv 2202.04200), section 3; configs/maskgit_class_cond_config.py, libml/losses.py
and inference.py of google-research/maskgit, which has no training loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.errors import UserError
from maskmim.generate.repaint import seamless, tokens_in
from maskmim.models.token_transformer import TokenModel
from maskmim.objectives.classification import accuracy
from maskmim.reporting.streams import GREY
from maskmim.targets.codes import spread
from maskmim.teachers.picture_codes import PictureCodes, codes_of, drawn
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
    """Classes that the data do not have."""


class Parts(NamedTuple):
    """What the method is composed of, built; see `masked_tokens`."""

    tokenizer: PictureCodes
    model: TokenModel
    mask: Callable[[Randomness, Context], Mask]
    loss: Callable[[Array, Array], Array]
    decode: Callable[..., Array]
    condition: Mapping[str, Any]

    @property
    def net(self) -> Net:
        """The tokenizer's network."""
        return self.tokenizer.net

    @property
    def grid(self) -> tuple[int, ...]:
        """The grid of tokens."""
        (grid,) = self.net.grids.values()
        return grid


def masked_tokens(
    spec: Spec,
    *,
    tokenizer: Callable[[Spec], PictureCodes],
    model: Callable[[int, int, int], TokenModel],
    mask: Callable[[Randomness, Context], Mask],
    token_loss: Callable[[Array, Array], Array],
    condition: Mapping[str, Any],
    generation: Callable[..., Array],
) -> Method:
    """Codes of a frozen tokenizer, some unknown, predicted from the others.

    tokenizer:  brick, spec -> PictureCodes.
    model:      brick, (codes, classes, tokens) -> TokenModel.
    mask:       sampler brick; what is hidden is unknown to the model.
    token_loss: brick, (logits f32[B, N, codes], codes i32[B, N]) -> f32[B, N].
    condition:  {'label': name of a label set, 'classes': how many}; 0 classes for a model without.
                A batch without labels, as the pictures for sheets, has no class.
    generation: brick as `generate.parallel.decode`.

    The loss is taken on hidden tokens, averaged over those of an example and then over examples,
    so that examples count alike whatever they hide; one that hides nothing does not count.
    `apply`: 'codes' and 'draw' as `methods.vq_autoencoder`; 'generate' (variables, tokens, classes,
    randomness, start=0) -> i32[steps, B, N], filling in tokens that are `TokenModel.mask_id`;
    'encode' tokens of whole pictures.
    Raises LabelError for a batch whose labels lack the set.
    """
    frozen = tokenizer(spec)
    (grid,) = frozen.net.grids.values()
    made = model(frozen.codes, condition["classes"], grid[0] * grid[1])
    parts = Parts(frozen, made, mask, token_loss, generation, condition)
    says = (("sampler", title(mask)), *made.says, ("loss", title(token_loss)))
    told = (("tokens", f"image {grid[0]}x{grid[1]}, of {frozen.codes} codes"), *says)
    return Method(
        net=frozen.net,
        init=lambda key: (made.init(key), ()),
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
        chain=(*told, ("generation", title(generation))),
        sheets={"samples": partial(_samples, parts)},
    )


def _codes(parts: Parts, variables: Variables, batch: Batch) -> Array:
    return codes_of(parts.net, variables.frozen, parts.net.inputs(batch))


def _draw(parts: Parts, variables: Variables, codes: Array) -> Array:
    return parts.net.display(drawn(parts.net, variables.frozen, codes))


def _labels(parts: Parts, batch: Batch, examples: int) -> Array:
    """The class of each example, -1 for none: i32[B]."""
    name = parts.condition["label"]
    if not parts.condition["classes"] or "label" not in batch:
        return jnp.full((examples,), -1, jnp.int32)
    if name not in batch["label"]:
        raise LabelError(
            f"condition.label is {name!r}, the data have {sorted(batch['label']) or 'no labels'}: "
            "name one of these, or set condition.classes to 0"
        )
    return batch["label"][name]


def _loss(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> Losses:
    codes = _codes(parts, variables, batch)
    hidden = parts.mask(randomness, Context(batch, parts.net.grids, {}, progress)).hidden
    seen = jnp.where(hidden, parts.model.mask_id, codes)
    label = _labels(parts, batch, len(codes))
    encoded = parts.model.encode(variables.params, seen, label, randomness)
    logits = parts.model.logits(variables.params, encoded)
    counted = hidden.astype(jnp.float32)
    weight = counted / jnp.maximum(jnp.sum(counted, axis=-1, keepdims=True), 1.0)
    terms = {"codes": Mean(jnp.sum(parts.loss(logits, codes) * weight), jnp.sum(weight))}
    metrics = {
        "accuracy": Mean(jnp.sum(accuracy(logits, codes) * counted), jnp.sum(counted)),
        "hidden": Mean(jnp.sum(counted), jnp.float32(counted.size)),
    }
    return Losses(terms, {"codes": 1.0}, metrics, ())


def _encode(parts: Parts, variables: Variables, batch: Batch) -> Encoded:
    """Tokens of whole pictures from the last block; no class is told."""
    codes = _codes(parts, variables, batch)
    label = jnp.full((len(codes),), -1, jnp.int32)
    return parts.model.encode(variables.params, codes, label)


def _mask(
    parts: Parts, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Any]:
    context = Context(batch, parts.net.grids, {}, 0.0)
    return {"mask": parts.mask(randomness, context), "inputs": parts.net.inputs(batch)}


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
    """Pictures from their codes, with the right half painted anew, and from nothing.

    Where there are classes, each row has the next one.
    """
    net, unknown = parts.net, parts.model.mask_id
    inputs, codes = net.inputs(batch), _codes(parts, variables, batch)
    height, width = inputs.shape[1:3]
    classes = parts.condition["classes"]
    label = randomness.slots.astype(jnp.int32) % classes if classes else jnp.full(len(codes), -1)
    box = (0, width // 2, height, width - width // 2)
    right = tokens_in(box, size=(height, width), grid=parts.grid, margin=0)
    cut = jnp.where(right, unknown, codes)
    painted = _generate(parts, variables, cut, label, randomness.inside("paint"))[-1]
    every = jnp.broadcast_to(jnp.asarray(right), codes.shape)
    soft = seamless(inputs, drawn(net, variables.frozen, painted), every, parts.grid)
    veil = spread(right[None, :, None], parts.grid, (height, width))
    nothing = jnp.full(codes.shape, unknown, codes.dtype)
    steps = _generate(parts, variables, nothing, label, randomness.inside("samples"))
    return {
        "image": net.display(inputs),
        "from its codes": _draw(parts, variables, codes),
        "right half unknown": jnp.where(veil, jnp.uint8(GREY), net.display(inputs)),
        "painted anew": net.display(soft),
        "sample, first step": _draw(parts, variables, steps[0]),
        f"sample, step {len(steps)}": _draw(parts, variables, steps[-1]),
    }
