"""Teachers that never learn: features of pictures from a fixed network.

`features` sees whole pictures, `seen_features` the tokens alone that the student sees.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.config.ranges import Positive, PositiveInt
from maskmim.errors import UserError, count_of
from maskmim.models.captured_blocks import block_output
from maskmim.models.frozen_vit import Frozen
from maskmim.models.layers.blocks import ROWS
from maskmim.models.layers.standardise import standardise
from maskmim.types import Array, Context, Encoded, Mask, Net, Teacher, Tree, stateless


class FrozenError(UserError, ValueError):
    """A batch that a fixed teacher cannot use."""


def features(
    *,
    network: Callable[[], Frozen],
    class_token: bool = False,
    layers: tuple[PositiveInt, ...] = (),
    attention: bool = False,
    normalise: bool = False,
    epsilon: Positive = 1e-6,
    picture: str = "image",
) -> Teacher:
    """Return a teacher that gives the features of a fixed network for every token.

    network:     brick, () -> Frozen: `maskmim.models.frozen_vit.random_vit`, or one of
                 `maskmim.teachers.pretrained`.
    class_token: give 'class_feature' f32[B, D] too.
    layers:      numbers of blocks, from 1, whose outputs it gives as 'layers' f32[L, B, N, D], in
                 this order, and with class_token those of the class token as 'class_layers'
                 f32[L, B, D]. Where the network ends with a block, up to that one.
    attention:   give 'attention' f32[B, N], the attention of the class token in the last block,
                 averaged over heads, as samplers of `masks.attention` need it.
    normalise:   subtract the mean of each feature vector and divide by its deviation (a layer norm
                 without parameters, with `epsilon`), after the network's own norm.
    picture:     name of the batch's array.

    Gives 'features' f32[B, N, D]. The whole picture is resized (bicubic, antialiased) so that the
    network has the tokens of the student's grid, and normalised as the network expects.
    The network's weights are frozen variables: read once when training starts, never saved.
    Raises FrozenError where the batch lacks that picture, the array is not pictures, the channels
    differ, or the network lacks a class token; ModelError for a block that the network lacks.
    """
    fixed = network()
    capture = (("layers",) if layers else ()) + (("attention",) if attention else ())

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        inputs = network_inputs(fixed, context, picture)
        encoded = fixed.encode(frozen, inputs, None, capture)
        if attention:
            check_class_token(encoded, "attention")
        chosen = [block_output(encoded, number) for number in layers]
        hints = token_hints(encoded, class_token)
        if layers:
            each = [token_hints(one, class_token) for one in chosen]
            hints["layers"] = jnp.stack([one["features"] for one in each])
        if layers and class_token:
            hints["class_layers"] = jnp.stack([one["class_feature"] for one in each])
        if normalise:
            hints = {name: standardise(value, epsilon) for name, value in hints.items()}
        return {**hints, **({"attention": class_attention(encoded)} if attention else {})}

    gives = ("features", *(("class_feature",) if class_token else ()))
    gives += ("layers", *(("class_layers",) if class_token else ())) if layers else ()
    return fixed_teacher((*gives, *(("attention",) if attention else ())), False, find, fixed)


def seen_features(
    *,
    network: Callable[[], Frozen],
    class_token: bool = False,
    normalise: bool = False,
    epsilon: Positive = 1e-6,
    picture: str = "image",
) -> Teacher:
    """Return a teacher that sees the tokens alone that the student sees, and gives their features.

    Keywords are those of `features`; a network of fewer blocks, `layer=...`, costs less.
    Gives 'seen_features' f32[B, K, D], in the order of `Mask.visible`, and with class_token
    'seen_class_feature' f32[B, D]. It comes after the mask, so no sampler may read it. A network
    must take patches apart from each other: no windows, no convolutions. Raises as `features`.
    Source: DMAE (arXiv 2208.12256), forward_encoder_customized of models_mae_distill.py,
    UCSC-VLAA/DMAE; there the teacher draws the mask.
    """
    fixed = network()

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        encoded = fixed.encode(frozen, network_inputs(fixed, context, picture), mask)
        hints = token_hints(encoded, class_token)
        if normalise:
            hints = {name: standardise(value, epsilon) for name, value in hints.items()}
        return {f"seen_{name}": value for name, value in hints.items()}

    gives = ("seen_features", *(("seen_class_feature",) if class_token else ()))
    return fixed_teacher(gives, True, find, fixed)


def relations(
    *, network: Callable[[], Frozen], blocks: PositiveInt = 1, picture: str = "image"
) -> Teacher:
    """Return a teacher that gives what relates the tokens of a fixed network to each other.

    network, picture: as of `features`; a plain ViT or CLIP.
    blocks:  how many of its last blocks are asked; for others end the network by its `layer`.
    Gives 'teacher_queries', 'teacher_keys' and 'teacher_values' f32[L, B, heads, N, size] of the
    attention of these blocks, without those of prefix tokens, for `objectives.match_relations`.
    Raises as `features`, FrozenError for a network of fewer blocks, and ModelError for one that
    cannot tell them.
    """
    fixed = network()

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        encoded = fixed.encode(frozen, network_inputs(fixed, context, picture), None, ROWS)
        depth, prefix = len(encoded.queries), encoded.prefix.shape[1]
        if blocks > depth:
            raise FrozenError(f"relations of {blocks} blocks are asked of {depth}: ask for fewer")
        return {
            f"teacher_{name}": getattr(encoded, name)[-blocks:, :, :, prefix:].astype(jnp.float32)
            for name in ROWS
        }

    return fixed_teacher(tuple(f"teacher_{name}" for name in ROWS), False, find, fixed)


def fixed_teacher(
    gives: tuple[str, ...], sees_mask: bool, find: Callable, network: Frozen
) -> Teacher:
    """Return a Teacher that keeps nothing between steps and whose frozen arrays are a network's."""

    return stateless(gives, sees_mask, find, freeze=network.load)


def token_hints(encoded: Encoded, class_token: bool) -> dict[str, Array]:
    """Return 'features' f32[B, N, D], and 'class_feature' f32[B, D] where it is wanted."""
    hints = {"features": encoded.tokens.astype(jnp.float32)}
    if class_token:
        check_class_token(encoded, "class_token")
        hints["class_feature"] = encoded.prefix[:, 0].astype(jnp.float32)
    return hints


def class_attention(encoded: Encoded) -> Array:
    """Return the attention of the class token in the last block f32[B, N], averaged over heads."""
    heads = encoded.attention[-1].astype(jnp.float32)
    return jnp.mean(heads, axis=1)[:, encoded.prefix.shape[1] :]


def check_class_token(encoded: Encoded, keyword: str) -> None:
    """Raise FrozenError where a network has no class token, which a keyword asks for."""
    if not encoded.prefix.shape[1]:
        raise FrozenError(f"the teacher has no class token: set {keyword}=False")


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
