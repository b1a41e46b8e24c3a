"""A teacher that never learns: features of whole pictures from a fixed network."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.config.ranges import Positive
from maskmim.errors import UserError, count_of
from maskmim.models.frozen_vit import Frozen
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree


class FrozenError(UserError, ValueError):
    """A batch that a fixed teacher cannot use."""


def features(
    *,
    network: Callable[[], Frozen],
    class_token: bool = False,
    normalise: bool = False,
    epsilon: Positive = 1e-6,
    picture: str = "image",
) -> Teacher:
    """Return a teacher that gives the features of a fixed network for every token.

    network:     brick, () -> Frozen: `maskmim.models.frozen_vit.random_vit`, or one of
                 `maskmim.teachers.pretrained`.
    class_token: give 'class_feature' f32[B, D] too.
    normalise:   subtract the mean of each feature vector and divide by its deviation (a layer norm
                 without parameters, with `epsilon`), after the network's own norm.
    picture:     name of the batch's array.

    Gives 'features' f32[B, N, D]. The whole picture is resized (bicubic, antialiased) so that the
    network has the tokens of the student's grid, and normalised as the network expects.
    The network's weights are frozen variables: read once when training starts, never saved.
    Raises FrozenError where the batch lacks that picture, the array is not pictures, the channels
    differ, or the network lacks a class token.
    """
    fixed = network()

    def init(key: Array, net: Net, params: Tree) -> Tree:
        return ()

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        encoded = fixed.encode(frozen, network_inputs(fixed, context, picture))
        hints = {"features": encoded.tokens}
        if class_token:
            if not encoded.prefix.shape[1]:
                raise FrozenError("the teacher has no class token: set class_token=False")
            hints["class_feature"] = encoded.prefix[:, 0]
        hints = {name: value.astype(jnp.float32) for name, value in hints.items()}
        if normalise:
            hints = {name: standardise(value, epsilon) for name, value in hints.items()}
        return hints

    def refresh(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
        return extra

    gives = ("features", "class_feature") if class_token else ("features",)
    return Teacher(gives, False, init, find, refresh, fixed.load)


def network_inputs(network: Frozen, context: Context, picture: str) -> Array:
    """Return the batch's pictures in the size and normalisation of the network."""
    if picture not in context.batch:
        raise FrozenError(
            f"the batch has no {picture!r}: it has {', '.join(sorted(context.batch))}"
        )
    images, grid = context.batch[picture], context.grid
    if images.ndim != 4 or len(grid) != 2:
        raise FrozenError(
            f"the fixed teacher needs pictures; {picture!r} has examples of shape "
            f"{images.shape[1:]} on the token grid {grid}"
        )
    if images.shape[-1] != len(network.mean):
        raise FrozenError(
            f"the fixed teacher needs pictures of {count_of(len(network.mean), 'channel')}, the "
            f"batch has {images.shape[-1]}: change input.channels, or the teacher's mean and std"
        )
    scale = 255.0 if images.dtype == jnp.uint8 else 1.0
    images = images.astype(jnp.float32) / scale
    rows, columns = grid[0] * network.patch[0], grid[1] * network.patch[1]
    shape = images.shape[0], rows, columns, images.shape[-1]
    if images.shape != shape:
        levels = scale == 255.0  # numbers of float32 need not be in [0, 1]
        images = jax.image.resize(images, shape, "cubic", antialias=True)
        images = jnp.clip(images, 0.0, 1.0) if levels else images
    mean, std = (jnp.asarray(row, jnp.float32) for row in (network.mean, network.std))
    return (images - mean[None, None, None]) / std[None, None, None]


def standardise(values: Array, epsilon: float) -> Array:
    """Subtract the mean of each vector [..., D] and divide by its deviation."""
    centred = values - jnp.mean(values, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + epsilon)
