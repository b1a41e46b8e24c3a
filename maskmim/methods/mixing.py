"""Mixup and CutMix inside the train step: each example is mixed with a partner of its batch."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config.ranges import Fraction, NonNegative
from maskmim.methods.masked import MethodError
from maskmim.types import Array, Randomness


class Mixed(NamedTuple):
    """A mixed batch.

    inputs: f32[B, ...]. share: f32[B] of each example itself; the rest is its partner's.
    """

    inputs: Array
    share: Array


class Draw(NamedTuple):
    """What is drawn for an example, or for all; each f32[] or i32[], or with examples first.

    share: of the example itself, before the box of CutMix is cut to the picture. cuts: bool,
    CutMix instead of mixup. row, column: centre of the box.
    """

    share: Array
    cuts: Array
    row: Array
    column: Array


def mixup_or_cutmix(
    randomness: Randomness,
    inputs: Array,
    *,
    mixup: NonNegative = 0.8,
    cutmix: NonNegative = 1.0,
    chance: Fraction = 1.0,
    switch: Fraction = 0.5,
    per: Literal["batch", "example"] = "batch",
) -> Mixed:
    """Mix each example with its partner, by mixup or by CutMix.

    inputs: f32[B, ..., H, W, C] normalised inputs.
    mixup, cutmix: alpha of the Beta distribution of the share; 0 leaves the kind out.
    chance: probability of mixing at all. switch: probability of CutMix where both are possible.
    per:    draw once for the batch, as MAE's fine-tuning does, or for each example.
    The share is that of the pixels, after the box has been cut to the picture. The partner of slot
    s is slot s + B / 2 (modulo B) of the global batch. As micro-batches are dealt examples in turn,
    it lies in the same one where each has an even number of examples, so that nothing depends on
    devices or micro-batches.
    Raises MethodError where both alphas are 0, and for inputs that are no pictures, clips or
    spectrograms.
    Source: mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) as in timm's data/mixup.py, modes
    'batch' and 'elem'. Difference: timm's partner of slot s is slot B - 1 - s of a device's batch.
    """
    if not (mixup or cutmix):
        raise MethodError(
            "mix.mixup and mix.cutmix are both 0, so that nothing is mixed: set one of them above "
            "0, or mix=None"
        )
    sides = picture_sides(inputs, "mix")
    own = randomness.inside("mix")

    def draw(key: Array) -> Draw:
        keys = jax.random.split(key, 6)
        both = mixup > 0 and cutmix > 0
        chosen = (
            jax.random.uniform(keys[0], (), jnp.float32) < switch
            if both
            else jnp.asarray(cutmix > 0)
        )
        shares = [
            jax.random.beta(key, jnp.float32(alpha), jnp.float32(alpha)) if alpha else 1.0
            for key, alpha in ((keys[1], mixup), (keys[2], cutmix))
        ]
        share = jnp.where(chosen, shares[1], shares[0])
        mixes = jax.random.uniform(keys[3], (), jnp.float32) < chance
        row, column = (
            jax.random.randint(key, (), 0, side, jnp.int32)
            for key, side in zip(keys[4:], sides, strict=True)
        )
        return Draw(jnp.where(mixes, share, 1.0), chosen, row, column)

    if per == "batch":
        drawn = draw(own.shared("batch"))
        drawn = jax.tree.map(lambda value: jnp.broadcast_to(value, len(inputs)), drawn)
    else:
        drawn = jax.vmap(draw)(own.each("example"))
    return mix(inputs, drawn)


def mix(inputs: Array, drawn: Draw) -> Mixed:
    """Mix inputs f32[B, ..., H, W, C] as drawn for each example, every field of `Draw` [B]."""
    sides = inputs.shape[-3:-1]
    others = partners(inputs)
    cut = jnp.sqrt(1.0 - drawn.share)
    boxes = [
        _span(centre, jnp.floor(side * cut).astype(jnp.int32), side)
        for centre, side in zip((drawn.row, drawn.column), sides, strict=True)
    ]
    inside = boxes[0][:, :, None] & boxes[1][:, None, :]
    left = 1.0 - jnp.mean(inside.astype(jnp.float32), axis=(1, 2))
    share = jnp.where(drawn.cuts, left, drawn.share)
    outside = 1.0 - inside.astype(jnp.float32)
    weight = jnp.where(_examples(drawn.cuts, 3), outside, _examples(drawn.share, 3))
    shape = len(inputs), *(1,) * (inputs.ndim - 4), *sides, 1
    weight = weight.astype(inputs.dtype).reshape(shape)
    return Mixed(weight * inputs + (1.0 - weight) * others, share)


def partners(array: Array) -> Array:
    """Return the partner's row in place of each row: that half a batch further, modulo B."""
    return jnp.roll(array, -(len(array) // 2), axis=0)


def mix_shares(targets: Array, share: Array) -> Array:
    """Return targets f32[B, ...] mixed with those of the partners, by the shares f32[B]."""
    share = _examples(share, targets.ndim)
    return share * targets + (1.0 - share) * partners(targets)


def picture_sides(inputs: Array, key: str) -> tuple[int, int]:
    """Return (H, W) of inputs f32[B, ..., H, W, C]; raise MethodError for other inputs.

    key: of the section in the config, for the message.
    """
    if isinstance(inputs, jax.Array) and inputs.ndim >= 4 and inputs.dtype == jnp.float32:
        return inputs.shape[-3], inputs.shape[-2]
    raise MethodError(
        f"{key} changes pictures, clips and spectrograms of one stream, which these inputs are "
        f"not: set {key}=None"
    )


def _span(centre: Array, length: Array, side: int) -> Array:
    """Return bool[B, side], which places a span [B] covers, as far as it lies inside."""
    places = jnp.arange(side)[None]
    start, end = centre - length // 2, centre + (length + 1) // 2
    return (places >= start[:, None]) & (places < end[:, None])


def _examples(values: Array, axes: int) -> Array:
    """[B] -> [B, 1, ...] with as many axes as given."""
    return values.reshape(-1, *(1,) * (axes - 1))
