"""A teacher that never learns: what a network that is given finds in the whole picture."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.errors import UserError
from maskmim.models.frozen_vit import Frozen
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree


class FrozenError(UserError, ValueError):
    """A fixed teacher and a batch that do not go together."""


def features(
    *,
    network: Callable[[], Frozen],
    class_token: bool = False,
    normalise: bool = False,
    epsilon: float = 1e-6,
    picture: str = "image",
) -> Teacher:
    """Features of every token of the whole picture, found by a fixed network.

    network:     brick, () -> Frozen: `maskmim.models.frozen_vit.random_vit`, or one of
                 `maskmim.teachers.pretrained`.
    class_token: gives 'class_feature' f32[B, D] too.
    normalise:   each feature vector minus its mean over its deviation (a layer norm without
                 parameters, with `epsilon`), after whatever norm the network has.
    picture:     name of the batch's array.

    Gives 'features' f32[B, N, D]. The picture is resized (bicubic, antialiased) to the size that
    gives the network the tokens of the student's grid, and normalised as the network wants it.
    Its weights are frozen variables: read once when training starts, never saved.
    Raises FrozenError for a batch without that picture, for anything but pictures, for other
    channels, and for a class token that the network lacks.
    """
    given = network()

    def init(key: Array, net: Net, params: Tree) -> Tree:
        return ()

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        encoded = given.encode(frozen, seen_by(given, context, picture))
        found = {"features": encoded.tokens}
        if class_token:
            if not encoded.prefix.shape[1]:
                raise FrozenError("the teacher has no class token: set class_token=False")
            found["class_feature"] = encoded.prefix[:, 0]
        found = {name: value.astype(jnp.float32) for name, value in found.items()}
        if normalise:
            found = {name: standardised(value, epsilon) for name, value in found.items()}
        return found

    def refresh(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
        return extra

    gives = ("features", "class_feature") if class_token else ("features",)
    return Teacher(gives, False, init, find, refresh, given.load)


def seen_by(given: Frozen, context: Context, picture: str) -> Array:
    """The batch's pictures as the network wants them: its size, its normalisation."""
    if picture not in context.batch:
        raise FrozenError(
            f"the batch has no {picture!r}: it has {', '.join(sorted(context.batch))}"
        )
    images, grid = context.batch[picture], context.grid
    if images.ndim != 4 or len(grid) != 2:
        raise FrozenError(
            f"the fixed teacher looks at pictures, not at {picture!r} of shape {images.shape[1:]} "
            f"with the tokens {grid}"
        )
    if images.shape[-1] != len(given.mean):
        raise FrozenError(
            f"the fixed teacher looks at pictures of {len(given.mean)} channels, those of the "
            f"batch have {images.shape[-1]}"
        )
    scale = 255.0 if images.dtype == jnp.uint8 else 1.0
    images = images.astype(jnp.float32) / scale
    shape = images.shape[0], grid[0] * given.patch[0], grid[1] * given.patch[1], images.shape[-1]
    if images.shape != shape:
        images = jnp.clip(jax.image.resize(images, shape, "cubic", antialias=True), 0.0, 1.0)
    return (images - jnp.asarray(given.mean)) / jnp.asarray(given.std)


def standardised(values: Array, epsilon: float) -> Array:
    """Each vector [..., D] minus its mean, over its deviation."""
    centred = values - jnp.mean(values, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + epsilon)
