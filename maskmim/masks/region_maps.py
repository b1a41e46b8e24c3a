"""Regions of tokens, computed from maps of pixel labels."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from maskmim.masks.core import MaskError
from maskmim.types import Array

# The pixel classes of FACER's face parsing, as FSFM groups them; the boundary of the face is
# computed from three of them and comes between the mouth and the hair.
FACE_CLASSES = 11
SKIN, HAIR, BACKGROUND = 1, 10, 0
FACE_PARTS = ((2, 3), (4, 5), (6,), (7, 8, 9))
FACE_REGIONS = 8
FACE_CANDIDATES = (0, 1, 2, 3, 4, 5)


def token_counts(label_map: Array, patch: tuple[int, ...], *, regions: int) -> Array:
    """Count the pixels of each label in each token: i32[B, *size] -> i32[B, N, regions].

    patch: pixels of a token along each axis. Raises MaskError unless patches tile the map.
    """
    batch, *size = label_map.shape
    if len(patch) != len(size) or any(
        length % side for length, side in zip(size, patch, strict=True)
    ):
        raise MaskError(f"patches of {patch} pixels do not tile a label map of {tuple(size)}")
    split = [
        part for length, side in zip(size, patch, strict=True) for part in (length // side, side)
    ]
    axes = range(1, 2 * len(size) + 1)
    cells = label_map.reshape(batch, *split).transpose(0, *axes[::2], *axes[1::2])
    cells = cells.reshape(batch, -1, math.prod(patch))
    # One label at a time: a one-hot map of all pixels would be `regions` times the input.
    counts = jax.lax.map(lambda label: (cells == label).sum(-1), jnp.arange(regions))
    return jnp.moveaxis(counts, 0, -1)


def token_labels(label_map: Array, patch: tuple[int, ...], *, regions: int) -> Array:
    """Return the most frequent label of each token's pixels, the lowest of equals: i32[B, N].

    label_map, patch and what raises: see `token_counts`. regions: labels are 0 .. regions - 1.
    """
    return jnp.argmax(token_counts(label_map, patch, regions=regions), axis=-1).astype(jnp.int32)


def token_members(label_map: Array, patch: tuple[int, ...], *, regions: int) -> Array:
    """Mark each token's regions, those with at least one of its pixels: bool[B, N, regions].

    label_map, patch and what raises: see `token_counts`.
    Source: the max pooling of FSFM, fsfm-3c/util/datasets.py, wolo-wolo/FSFM-CVPR25.
    """
    return token_counts(label_map, patch, regions=regions) > 0


def face_members(label_map: Array, patch: tuple[int, ...]) -> Array:
    """Mark FSFM's eight regions of a face: bool[B, N, 8], hint of `regions.covered_overlapping`.

    label_map: i32[B, H, W] of FACER's eleven classes. In order: eyebrows, eyes, nose, mouth, face
    boundary (tokens with skin and with hair or background), hair, skin, background. The first six,
    FACE_CANDIDATES, may be covered.
    Source: facial_region_group of the same file.
    """
    members = token_members(label_map, patch, regions=FACE_CLASSES)
    parts = [members[..., list(group)].any(-1) for group in FACE_PARTS]
    skin, hair, background = members[..., SKIN], members[..., HAIR], members[..., BACKGROUND]
    boundary = skin & (hair | background)
    return jnp.stack([*parts, boundary, hair, skin, background], axis=-1)
