"""Regions as targets: which pixels of the hidden patches belong to a region (R-MAE)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import NonNegative
from maskmim.errors import UserError
from maskmim.losses.classification import binary_cross_entropy
from maskmim.models.calls import call_of
from maskmim.models.layers.patches import gather
from maskmim.types import Array, Mask, Mean, Objective, View

SHOWN = 3  # regions of an example in a sheet


class RegionError(UserError, ValueError):
    """A field that does not hold maps of regions."""


def regions(
    *, call: str = "regions", field: str = "regions", scale: NonNegative = 1.0
) -> Objective:
    """Predict the hidden parts of regions from their visible parts and the picture.

    call:  name of the network's function that predicts regions: (params, Encoded, mask, maps
           f32[B, R, K, V] of the visible tokens) -> logits f32[B, R, P, V].
    field: of `input.fields`, bool[B, R, H, W], True inside a region.
    scale: factor in the sum of objectives.
    The loss of a token is the binary cross-entropy of its pixels, averaged over its pixels and the
    regions of its example. Metric 'iou': pixels that are in a region and predicted to be, by those
    that are or are predicted to be, of the hidden patches of all examples.
    Raises RegionError, when the loss is computed, for a field that is missing or of another size.
    Source: _forward_region_loss of pretrain/module/rmae.py, facebookresearch/r-mae. Difference: no
    weight of the background, which is 1 in every published config.
    """

    def find(view: View):
        logits, target = _compared(view, call, field)
        per_token = jnp.mean(binary_cross_entropy(logits, target), axis=(1, 3))
        iou = intersection_over_union(logits, target, view.mask.weight)
        return per_token, view.mask.weight, {"iou": iou}, ()

    def shows(view: View) -> dict[str, Array]:
        logits, _ = _compared(view, call, field)
        every = patch_maps(view, field)
        columns = {"picture": view.net.display(view.inputs)}
        for number in range(min(SHOWN, every.shape[1])):
            of_one = every[:, number], logits[:, number], view.mask
            columns[f"region {number}"] = _grey(view, of_one[0])
            columns[f"predicted {number}"] = _grey(view, _completed(*of_one))
        return columns

    return Objective(
        (), scale, find, f"maps of {field}, binary cross-entropy", shows=shows, calls=(call,)
    )


def patch_maps(view: View, field: str) -> Array:
    """Return the maps of regions by patch: f32[B, R, N, V], 1 inside and 0 outside.

    Raises RegionError for a field that is missing, or no maps of the picture's size.
    """
    batch, (stream, *_) = view.context.batch, view.net.grids
    if field not in batch:
        raise RegionError(
            f"the batch has no field {field!r}, but {', '.join(sorted(batch))}: declare it in "
            f"input.fields.{field}, and make it by maskmim.data.region_crops.crop_regions"
        )
    maps, size = batch[field], batch[stream].shape[1:3]
    if maps.ndim != 4 or maps.shape[2:] != size:
        raise RegionError(
            f"the field {field!r} has the shape {list(maps.shape[1:])}, not maps of the picture, "
            f"{['regions', *size]}: set input.fields.{field}.shape"
        )
    examples, count = maps.shape[:2]
    flat = maps.reshape(examples * count, *size, 1).astype(jnp.float32)
    patches = view.net.patchify(flat)
    return patches.reshape(examples, count, *patches.shape[1:])


def intersection_over_union(logits: Array, target: Array, weight: Array) -> Mean:
    """Return the shared pixels by the joined pixels: f32[B, R, P, V] and the weights f32[B, P]."""
    weight = weight[:, None, :, None]
    predicted, inside = (logits > 0).astype(jnp.float32), (target > 0.5).astype(jnp.float32)
    both, either = predicted * inside, jnp.maximum(predicted, inside)
    return Mean(jnp.sum(both * weight), jnp.sum(either * weight))


def _compared(view: View, call: str, field: str) -> tuple[Array, Array]:
    """Return the logits and the truth of the predicted tokens, f32[B, R, P, V]."""
    every = patch_maps(view, field)
    seen, target = (_take(every, places) for places in (view.mask.visible, view.mask.predict))
    logits = call_of(view.net, call)(view.params, view.encoded, view.mask, seen)
    return logits, target


def _take(maps: Array, places: Array) -> Array:
    """Return the tokens i32[B, K] of maps f32[B, R, N, V]: f32[B, R, K, V]."""
    examples, count = maps.shape[:2]
    flat = maps.reshape(examples * count, *maps.shape[2:])
    taken = gather(flat, jnp.repeat(places, count, axis=0))
    return taken.reshape(examples, count, *taken.shape[1:])


def _completed(maps: Array, logits: Array, mask: Mask) -> Array:
    """Return a region f32[B, N, V] with its predicted tokens as probabilities."""
    rows = jnp.arange(len(maps))[:, None]
    return maps.at[rows, mask.predict].set(jax.nn.sigmoid(logits))


def _grey(view: View, maps: Array) -> Array:
    """Return u8[B, H, W, 3] of maps f32[B, N, V] in [0, 1]."""
    picture = view.net.restore(jnp.repeat(maps, 3, axis=-1))
    return jnp.round(picture * 255).astype(jnp.uint8)
