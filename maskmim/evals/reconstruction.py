"""Errors of predicted pixels beside those of untrained guesses, and pictures of predictions."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from maskmim.evals.features import Unsuitable
from maskmim.reporting.streams import GREY
from maskmim.types import Array, Batch, Mask, Method, Net, Randomness, Variables

# The error of rounding to 8 bits; it limits PSNR to 58.9 dB.
ROUNDING = 1 / (12 * 255**2)


class Reconstruction(NamedTuple):
    """What a method predicts of a batch, and how far off that is.

    errors:   {name: f32[]} means over the examples with a hidden patch, of classes with a labelled
              hidden value, NaN where there is none: 'reconstruction/mse' and
              the others of `reconstruction_errors`, of a stream of classes
              'reconstruction/accuracy' alone. Where several streams are predicted,
              'reconstruction/<stream>/mse' and so on.
    pictures: {stream: pictures}, see `paste_predictions`.
    """

    errors: dict[str, Array]
    pictures: dict[str, dict[str, Array]]


def reconstruction(
    method: Method,
    nets: Mapping[str, Net],
    variables: Variables,
    batch: Batch,
    randomness: Randomness,
    *,
    classes: Mapping[str, int] = MappingProxyType({}),
    place: NamedSharding | None = None,
) -> Reconstruction:
    """Return the errors of a reconstruction, those of simple guesses, and pictures.

    nets:    {stream: the network narrowed to it} of the streams that can be restored, the main one
             first, see `drawable.restorable_streams`; others are left out.
    classes: {stream: number of classes} of the streams whose values are indices.
    place:   the sharding of the results, replicated where several processes read them.
    Raises Unsuitable for a method that predicts no pixels of these streams.
    """
    if "reconstruct" not in method.apply or not nets:
        raise Unsuitable(
            "this method predicts no pixels to reconstruct: remove 'reconstruction' from evals, or "
            "use an objective with pixels"
        )
    compute = functools.partial(_reconstruction, method, nets, classes)
    return jax.jit(compute, out_shardings=place)(variables, batch, randomness)


def _reconstruction(
    method: Method,
    nets: Mapping[str, Net],
    classes: Mapping[str, int],
    variables: Variables,
    batch: Batch,
    randomness: Randomness,
) -> Reconstruction:
    outputs = method.apply["reconstruct"](variables, batch, randomness)
    errors, pictures = {}, {}
    by_stream = outputs_by_stream(outputs, next(iter(nets)))
    several = len(by_stream) > 1
    for name in (name for name in nets if name in by_stream):
        own = by_stream[name]
        has_classes = classes.get(name, 0) > 0
        measured = (
            class_accuracy(own, classes[name])
            if has_classes
            else reconstruction_errors(nets[name], own)
        )
        prefix = f"reconstruction/{name}" if several else "reconstruction"
        counted = own["mask"].hidden.any(axis=1)
        if has_classes:
            counted = labelled(own, classes[name]).any(axis=(1, 2))
        errors |= {f"{prefix}/{key}": _mean_of(counted, each) for key, each in measured.items()}
        pictures[name] = paste_predictions(nets[name], own)
    return Reconstruction(errors, pictures)


def outputs_by_stream(outputs: Mapping[str, Any], main: str) -> dict[str, Mapping[str, Any]]:
    """Return what 'reconstruct' gives for each stream: of all in 'streams', or of the only one."""
    return dict(outputs["streams"]) if "streams" in outputs else {main: outputs}


def _mean_of(counted: Array, values: Array) -> Array:
    """Return the mean of values f32[B] over the examples in counted bool[B], NaN for none."""
    total = jnp.sum(jnp.where(counted, values, 0.0))
    some = total / jnp.sum(counted).astype(jnp.float32)
    # The same sum, divided as XLA divides by a constant.
    return jnp.where(jnp.all(counted), jnp.mean(values), some)


def class_accuracy(outputs: Mapping[str, Any], classes: int) -> dict[str, Array]:
    """Return the share f32[B] of the `labelled` values whose class is right, 0 without any."""
    counted = labelled(outputs, classes).astype(jnp.float32)
    right = jnp.sum((outputs["pixels"] == outputs["target"]) * counted, axis=(1, 2))
    return {"accuracy": right / jnp.maximum(jnp.sum(counted, axis=(1, 2)), 1)}


def labelled(outputs: Mapping[str, Any], classes: int) -> Array:
    """Return bool[B, P, V]: the hidden and predicted values that are of one of the classes."""
    mask, target = outputs["mask"], outputs["target"]
    hidden = jnp.take_along_axis(mask.hidden, mask.predict, axis=1)[..., None]
    return hidden & (target >= 0) & (target < classes)


def paste_predictions(net: Net, outputs: Mapping[str, Any]) -> dict[str, Array]:
    """Return pictures u8[B, *size, C] with the predictions pasted over the hidden patches.

    outputs: of a method's 'reconstruct', or of one stream of it.
    'image':    the input.
    'masked':   the input with hidden patches grey.
    'restored': predictions in the units of the input ('pixels'); for targets of normalised patches,
                with the true patch's mean and variance restored.
    'raw':      predictions as the network outputs them, as MAE's demo pastes them; 'restored' again
                where these are not values of a patch, such as those of one frame of a cube.
    'hidden':   bool[B, N]. 'unknown': those that are hidden and not predicted, grey in 'restored'
                and 'raw'.
    Visible patches are always those of the input, even if predicted.
    """
    mask, inputs = outputs["mask"], outputs["inputs"]
    patches = net.patchify(inputs)
    image = net.display(inputs)
    known = ~mask.hidden | _scatter(jnp.ones(mask.predict.shape, bool), mask, mask.hidden.shape)

    def paste(values: Array) -> Array:
        predicted = _scatter(values, mask, patches.shape)
        mixed = jnp.where(mask.hidden[..., None], predicted, patches)
        return _paint_grey(net, net.display(net.restore(mixed)), known, patches)

    restored, raw = outputs["pixels"], outputs["prediction"]
    return {
        "image": image,
        "masked": _paint_grey(net, image, ~mask.hidden, patches),
        "restored": paste(restored),
        "raw": paste(raw if raw.shape == restored.shape else restored),
        "hidden": mask.hidden,
        "unknown": ~known,
    }


def reconstruction_errors(net: Net, outputs: Mapping[str, Any]) -> dict[str, Array]:
    """Return the errors f32[B] of each image, over its patches that are hidden and predicted.

    outputs: of a method's 'reconstruct'.
    Errors are mean squared differences of displayed pixels in [0, 1], rounded to 8 bits and clipped
    as a picture is, so that they are comparable across normalisations:

    'mse':                 of 'pixels', which `paste_predictions` shows as 'restored'.
    'psnr':                -10 log10 of 'mse' in dB, at most 58.9 (8 bits).
    'mse_nearest_visible': of a copy of the visible patch with the nearest centre; of several, of
                           their mean.
    'mse_mean_visible':    of the mean colour of the image's visible patches.
    'mse_own_mean':        of the true patch's mean over its values. A normalised target reveals
                           this mean (and the contrast), so this, not the guesses above, is the
                           score of a model that has learnt nothing.
    """
    mask = outputs["mask"]
    patches = net.patchify(outputs["inputs"])
    true = _take_tokens(patches, mask.predict)
    true_mean = jnp.broadcast_to(true.mean(-1, keepdims=True), true.shape)
    image = _displayed(net, patches)
    grid = next(iter(net.grids.values()))
    guesses = {
        "mse": _take_tokens(
            _displayed(net, _replace_predicted(patches, outputs["pixels"], mask)), mask.predict
        ),
        "mse_nearest_visible": nearest_visible(image, mask, grid),
        "mse_mean_visible": mean_visible(image, mask, net.display(outputs["inputs"]).shape[-1]),
        "mse_own_mean": _take_tokens(
            _displayed(net, _replace_predicted(patches, true_mean, mask)), mask.predict
        ),
    }
    target = _take_tokens(image, mask.predict)
    counted = jnp.take_along_axis(mask.hidden, mask.predict, axis=1).astype(jnp.float32)

    def error(guess: Array) -> Array:
        by_patch = jnp.mean((guess - target) ** 2, axis=-1)
        return jnp.sum(by_patch * counted, axis=-1) / jnp.maximum(counted.sum(axis=-1), 1)

    errors = {name: error(guess) for name, guess in guesses.items()}
    psnr = -10 / math.log(10) * jnp.log(jnp.maximum(errors["mse"], ROUNDING))
    return errors | {"psnr": psnr}


def nearest_visible(image: Array, mask: Mask, grid: tuple[int, ...]) -> Array:
    """Return, for each predicted patch, the mean of the nearest visible patches on the grid.

    image: f32[B, N, V]; distances are Euclidean, in patches. Returns f32[B, P, V], 0 where nothing
    is visible.
    """
    axes = jnp.meshgrid(*map(jnp.arange, grid), indexing="ij")
    positions = jnp.stack(axes, -1).reshape(-1, len(grid))
    squared = jnp.sum((positions[:, None] - positions[None]) ** 2, -1)
    far = jnp.iinfo(jnp.int32).max
    distance = jnp.where(mask.hidden[:, None], far, squared[mask.predict])
    nearest = (distance == distance.min(-1, keepdims=True)) & (distance < far)
    weight = nearest / jnp.maximum(nearest.sum(-1, keepdims=True), 1)
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("bpn,bnv->bpv", weight, image, precision=exact)


def mean_visible(image: Array, mask: Mask, channels: int) -> Array:
    """Return the mean colour of each image's visible patches: f32[B, N, V] -> f32[B, 1, V]."""
    visible = ~mask.hidden[..., None, None]
    pixels = image.reshape(*image.shape[:2], -1, channels)
    total = jnp.sum(pixels * visible, axis=(1, 2)) / pixels.shape[2]
    mean = total / jnp.maximum(visible.sum(axis=(1, 2)), 1)
    return jnp.tile(mean, image.shape[-1] // channels)[:, None]


def _displayed(net: Net, patches: Array) -> Array:
    """Convert patches in units of the inputs to patches of displayed pixels in [0, 1]."""
    return net.patchify(net.display(net.restore(patches)).astype(jnp.float32) / 255)


def _take_tokens(patches: Array, tokens: Array) -> Array:
    return jnp.take_along_axis(patches, tokens[..., None], axis=1)


def _scatter(values: Array, mask: Mask, shape: tuple[int, ...]) -> Array:
    """Return an array of that shape with the values at the predicted tokens and zeros elsewhere."""
    rows = jnp.arange(shape[0])[:, None]
    return jnp.zeros(shape, values.dtype).at[rows, mask.predict].set(values)


def _replace_predicted(patches: Array, values: Array, mask: Mask) -> Array:
    """Return the patches with the predicted ones replaced by values."""
    rows = jnp.arange(len(patches))[:, None]
    return patches.at[rows, mask.predict].set(values.astype(patches.dtype))


def _paint_grey(net: Net, picture: Array, known: Array, patches: Array) -> Array:
    """Paint the patches of a picture grey where known bool[B, N] is False."""
    veil = net.restore(jnp.where(known[..., None], jnp.zeros_like(patches), jnp.ones_like(patches)))
    return jnp.where(veil > 0, jnp.uint8(GREY), picture)
