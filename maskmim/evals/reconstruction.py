"""How well hidden pixels are predicted, against what needs no training; and pictures of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from maskmim.evals.features import Unsuitable
from maskmim.reporting.streams import GREY
from maskmim.types import Array, Batch, Mask, Method, Net, Randomness, Variables

# The error that rounding to 8 bits makes by itself; it bounds PSNR at 58.9 dB.
ROUNDING = 1 / (12 * 255**2)


def reconstruction(
    method: Method,
    variables: Variables,
    batch: Batch,
    randomness: Randomness,
    *,
    place: NamedSharding | None = None,
) -> dict[str, Array]:
    """Errors of a reconstruction beside those of simple guesses, and pictures of it.

    Returns f32[] means over the images of the batch, see `errors`: 'reconstruction/mse',
    'reconstruction/psnr', 'reconstruction/mse_nearest_visible', 'reconstruction/mse_mean_visible',
    'reconstruction/mse_own_mean'; pictures u8[B, *size, C], see `pastes`: 'image', 'masked',
    'restored', 'raw'; and 'hidden' bool[B, N].
    place: of the results, replicated where several processes shall read them.
    Raises Unsuitable for a method that predicts no pixels.
    """
    if "reconstruct" not in method.apply:
        raise Unsuitable(
            "this method predicts no pixels, there is nothing to reconstruct: leave "
            "'reconstruction' out of evals, or give the method an objective with pixels"
        )
    run = jax.jit(functools.partial(_reconstruction, method), out_shardings=place)
    return run(variables, batch, randomness)


def _reconstruction(
    method: Method, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    found = method.apply["reconstruct"](variables, batch, randomness)
    shown = pastes(method.net, found)
    figures = errors(method.net, found)
    means = {f"reconstruction/{name}": jnp.mean(each) for name, each in figures.items()}
    return means | shown | {"hidden": found["mask"].hidden}


def pastes(net: Net, found: Mapping[str, Any]) -> dict[str, Array]:
    """Pictures u8[B, H, W, C] of what a method's 'reconstruct' found.

    'image':    the input.
    'masked':   the same with hidden patches grey.
    'restored': predictions in the units of the input ('pixels') over the hidden patches; where the
                target is a normalised patch, the true patch's mean and variance were put back.
    'raw':      predictions as they come, as MAE's demo pastes them.
    Visible patches are the input's own, also where they were predicted; hidden ones that were not
    predicted stay grey.
    """
    mask, inputs = found["mask"], found["inputs"]
    patches = net.patchify(inputs)
    image = net.display(inputs)
    known = ~mask.hidden | _scatter(jnp.ones(mask.predict.shape, bool), mask, mask.hidden.shape)

    def paste(values: Array) -> Array:
        whole = _scatter(values, mask, patches.shape)
        mixed = jnp.where(mask.hidden[..., None], whole, patches)
        return _grey(net, net.display(net.restore(mixed)), known, patches)

    return {
        "image": image,
        "masked": _grey(net, image, ~mask.hidden, patches),
        "restored": paste(found["pixels"]),
        "raw": paste(found["prediction"]),
    }


def errors(net: Net, found: Mapping[str, Any]) -> dict[str, Array]:
    """Figures f32[B] of each image, over its patches that are hidden and predicted.

    Errors are mean squared differences of shown pixels in [0, 1], rounded to 8 bits and clipped
    as a picture is, so that they compare across normalisations:

    'mse':                 of 'pixels', what `pastes` shows as 'restored'.
    'psnr':                -10 log10 of it in dB, at most 58.9 (8 bits).
    'mse_nearest_visible': of a copy of the visible patch with the nearest centre; of equally near
                           ones the mean.
    'mse_mean_visible':    of the mean colour of the image's visible patches.
    'mse_own_mean':        of the true patch's own mean over its values. A normalised target gives
                           this mean (and the contrast) away, so that it, not the guesses above, is
                           what a model that has learnt nothing scores there.
    """
    mask = found["mask"]
    patches = net.patchify(found["inputs"])
    true = _at(patches, mask.predict)
    own = jnp.broadcast_to(true.mean(-1, keepdims=True), true.shape)
    image = _shown(net, patches)
    grid = net.grids[next(iter(net.grids))]
    values = {
        "mse": _at(_shown(net, _over(patches, found["pixels"], mask)), mask.predict),
        "mse_nearest_visible": nearest_visible(image, mask, grid),
        "mse_mean_visible": mean_visible(image, mask, net.display(found["inputs"]).shape[-1]),
        "mse_own_mean": _at(_shown(net, _over(patches, own, mask)), mask.predict),
    }
    wanted = _at(image, mask.predict)
    counted = jnp.take_along_axis(mask.hidden, mask.predict, axis=1).astype(jnp.float32)

    def error(guess: Array) -> Array:
        each = jnp.mean((guess - wanted) ** 2, axis=-1)
        return jnp.sum(each * counted, axis=-1) / jnp.maximum(counted.sum(axis=-1), 1)

    found_errors = {name: error(guess) for name, guess in values.items()}
    psnr = -10 / math.log(10) * jnp.log(jnp.maximum(found_errors["mse"], ROUNDING))
    return found_errors | {"psnr": psnr}


def nearest_visible(image: Array, mask: Mask, grid: tuple[int, ...]) -> Array:
    """For each predicted patch the mean of the visible ones that are nearest on the grid.

    image: f32[B, N, V]; distances are Euclidean, in patches. Returns f32[B, P, V].
    """
    axes = jnp.meshgrid(*map(jnp.arange, grid), indexing="ij")
    places = jnp.stack(axes, -1).reshape(-1, len(grid))
    squared = jnp.sum((places[:, None] - places[None]) ** 2, -1)
    far = jnp.iinfo(jnp.int32).max
    distance = jnp.where(mask.hidden[:, None], far, squared[mask.predict])
    nearest = distance == distance.min(-1, keepdims=True)
    weight = nearest / nearest.sum(-1, keepdims=True)
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("bpn,bnv->bpv", weight, image, precision=exact)


def mean_visible(image: Array, mask: Mask, channels: int) -> Array:
    """The mean colour of the visible patches of each image: f32[B, N, V] -> f32[B, 1, V]."""
    seen = ~mask.hidden[..., None, None]
    pixels = image.reshape(*image.shape[:2], -1, channels)
    total = jnp.sum(pixels * seen, axis=(1, 2)) / pixels.shape[2]
    mean = total / jnp.maximum(seen.sum(axis=(1, 2)), 1)
    return jnp.tile(mean, image.shape[-1] // channels)[:, None]


def _shown(net: Net, patches: Array) -> Array:
    """Patches in units of the inputs as patches of shown pixels in [0, 1]."""
    return net.patchify(net.display(net.restore(patches)).astype(jnp.float32) / 255)


def _at(patches: Array, tokens: Array) -> Array:
    return jnp.take_along_axis(patches, tokens[..., None], axis=1)


def _scatter(values: Array, mask: Mask, shape: tuple[int, ...]) -> Array:
    """Values at the predicted tokens of an array of that shape, zeros elsewhere."""
    rows = jnp.arange(shape[0])[:, None]
    return jnp.zeros(shape, values.dtype).at[rows, mask.predict].set(values)


def _over(patches: Array, values: Array, mask: Mask) -> Array:
    """The patches with values in place of the predicted ones."""
    rows = jnp.arange(len(patches))[:, None]
    return patches.at[rows, mask.predict].set(values.astype(patches.dtype))


def _grey(net: Net, picture: Array, known: Array, patches: Array) -> Array:
    """The picture with the patches grey that are not known, bool[B, N]."""
    veil = net.restore(jnp.where(known[..., None], 0.0, jnp.ones_like(patches)))
    return jnp.where(veil > 0, jnp.uint8(GREY), picture)
