"""A `Net` out of two Flax modules: an encoder of patches and a predictor, for pictures."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.patches import patchify, unpatchify
from maskmim.models.vit import ModelError
from maskmim.types import Array, Batch, Encoded, Mask, Net, Randomness, Spec, Tree


def token_grid(size: tuple[int, int], patch: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of patches in a picture; ModelError where they do not fill it."""
    if size[0] % patch[0] or size[1] % patch[1]:
        raise ModelError(
            f"pictures of {size[0]}x{size[1]} pixels do not divide into patches of "
            f"{patch[0]}x{patch[1]}: change input.size or model.patch"
        )
    return size[0] // patch[0], size[1] // patch[1]


def picture_net(
    spec: Spec,
    *,
    patch: tuple[int, int],
    grid: tuple[int, int],
    width: int,
    encoder: nn.Module,
    predictor: nn.Module,
    captures: tuple[str, ...] = (),
    says: tuple[tuple[str, str], ...] = (),
) -> Net:
    """The network whose params are {'encoder': ..., 'decoder': ...}.

    patch, grid: (height, width) of a patch in pixels, (rows, columns) of patches.
    width:     of the encoder's tokens.
    encoder:   module (patches f32[B, N, V], visible i32[B, K] or None, hidden bool[B, N] or None,
               capture, randomness or None) -> Encoded.
    predictor: module (Encoded, Mask) -> {head: f32[B, P, values]}.
    captures:  what the encoder always captures because the predictor reads it.
    says:      lines for people, see `Net.says`.
    """
    mean = jnp.asarray(spec.mean, jnp.float32)
    std = jnp.asarray(spec.std, jnp.float32)

    def init(key: Array) -> Tree:
        first, second = jax.random.split(key)
        length = math.prod(grid)
        blank = patchify(jnp.zeros((1, *spec.size, spec.channels)), patch)
        token = jnp.zeros((1, 1), jnp.int32)
        mask = Mask(token, token, jnp.zeros((1, length), bool), jnp.ones((1, 1)))
        made = encoder.init_with_output(first, blank, token, mask.hidden, captures)
        encoded, params = made
        head = predictor.init(second, encoded, mask)
        return {"encoder": params["params"], "decoder": head["params"]}

    def inputs(batch: Batch) -> Array:
        image = batch["image"]
        if image.shape[1:] != (*spec.size, spec.channels):
            wanted = (*spec.size, spec.channels)
            raise ModelError(f"pictures of shape {image.shape[1:]} meet a model for {wanted}")
        scale = 255.0 if image.dtype == jnp.uint8 else 1.0
        return (image.astype(jnp.float32) / scale - mean) / std

    def encode(
        params: Tree,
        inputs: Array,
        mask: Mask | None,
        *,
        capture: tuple[str, ...] = (),
        randomness: Randomness | None = None,
    ) -> Encoded:
        visible, hidden = (None, None) if mask is None else (mask.visible, mask.hidden)
        wanted = tuple(dict.fromkeys((*captures, *capture)))
        patches = patchify(inputs, patch)
        own = {"params": params["encoder"]}
        return encoder.apply(own, patches, visible, hidden, wanted, randomness)

    def predict(params: Tree, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        return predictor.apply({"params": params["decoder"]}, encoded, mask)

    def display(inputs: Array) -> Array:
        return jnp.clip(jnp.round((inputs * std + mean) * 255), 0, 255).astype(jnp.uint8)

    return Net(
        grids={"image": grid},
        width=width,
        init=init,
        inputs=inputs,
        encode=encode,
        predict=predict,
        patchify=lambda images: patchify(images, patch),
        restore=lambda patches: unpatchify(patches, patch, grid),
        display=display,
        says=says,
    )
