"""How well hidden pixels are predicted, against what needs no training; and pictures of it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from maskmim.types import Array, Batch, Mask, Method, Net, Randomness, Variables

GREY = 118 / 255


def reconstruction(
    method: Method, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    """Pictures of a reconstruction, and its error beside two baselines.

    Returns u8[B, H, W, C] 'image', 'masked', 'restored' (predictions in input units, statistics of
    the true patches put back where the target is normalised) and 'raw' (predictions as they come),
    visible patches as they are in both; and means over the hidden patches of squared differences of
    pixels in normalised input units: 'reconstruction/error', of 'restored';
    'reconstruction/error_patch_mean', of the true mean colour of each patch, which the restored
    statistics give away where the target is normalised; 'reconstruction/error_nearest_visible', of a
    copy of the nearest visible patch.
    """
    return jax.jit(functools.partial(_reconstruct, method))(variables, batch, randomness)


def _reconstruct(
    method: Method, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    net = method.net
    found = method.apply["reconstruct"](variables, batch, randomness)
    mask, inputs = found["mask"], found["inputs"]
    patches = net.patchify(inputs)
    true = _at(patches, mask.predict)
    mean = jnp.broadcast_to(true.mean(-1, keepdims=True), true.shape)
    copied = _at(patches, nearest_visible(mask, next(iter(net.grids.values()))))
    return {
        "image": net.display(inputs),
        "masked": _grey(net, inputs, mask),
        "restored": net.display(net.restore(_paste(patches, mask, found["pixels"]))),
        "raw": net.display(net.restore(_paste(patches, mask, found["prediction"]))),
        "reconstruction/error": _error(found["pixels"], true),
        "reconstruction/error_patch_mean": _error(mean, true),
        "reconstruction/error_nearest_visible": _error(copied, true),
    }


def nearest_visible(mask: Mask, grid: tuple[int, ...]) -> Array:
    """The visible token nearest to each predicted one, the first of equals: i32[B, P]."""
    places = jnp.stack(jnp.meshgrid(*map(jnp.arange, grid), indexing="ij"), -1)
    places = places.reshape(-1, len(grid)).astype(jnp.float32)
    wanted, seen = places[mask.predict], places[mask.visible]
    distance = jnp.sum((wanted[:, :, None] - seen[:, None]) ** 2, -1)
    return jnp.take_along_axis(mask.visible, jnp.argmin(distance, -1), axis=1)


def _at(patches: Array, tokens: Array) -> Array:
    return jnp.take_along_axis(patches, tokens[..., None], axis=1)


def _paste(patches: Array, mask: Mask, values: Array) -> Array:
    """The patches with predicted ones in place of the true ones."""
    return jax.vmap(lambda row, place, new: row.at[place].set(new))(patches, mask.predict, values)


def _grey(net: Net, inputs: Array, mask: Mask) -> Array:
    patches = net.patchify(inputs)
    veil = net.restore(jnp.where(mask.hidden[..., None], 1.0, jnp.zeros_like(patches)))
    return jnp.where(veil > 0, jnp.uint8(round(255 * GREY)), net.display(inputs))


def _error(prediction: Array, true: Array) -> Array:
    return jnp.mean((prediction.astype(jnp.float32) - true) ** 2)
