"""A teacher that reads the regions of tokens off a map of the example's pixels."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from maskmim.masks.core import MaskError
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree, stateless


def members_of_map(
    *, members: Callable[[Array, tuple[int, ...]], Array], field: str = "parts"
) -> Teacher:
    """Return a teacher that says to which regions each token belongs, for `masks.regions`.

    members: brick, (label map i32[B, *size], pixels of a token along each axis) -> bool[B, N, R]:
             `masks.region_maps.face_members` of maps of face parsing, `token_members` of any.
    field:   name of the map in the batch, whole numbers [B, *size] of `config.input.fields`, at any
             resolution that the grid divides.
    Gives 'members' bool[B, N, R]. It holds no arrays.
    Raises MaskError for a batch without the map, and where the grid does not divide it.
    Source: FSFM (CVPR 2025), collate_fn_crfrp of fsfm-3c/util/datasets.py, wolo-wolo/FSFM.
    """

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        if field not in context.batch:
            raise MaskError(
                f"the batch has {', '.join(sorted(context.batch))}, but no map {field!r} of the "
                f"regions to hide: declare input.fields.{field}, and read it by data.decode"
            )
        labels = context.batch[field].astype(jnp.int32)
        return {"members": members(labels, pixels_of_token(labels.shape[1:], context.grid))}

    return stateless(("members",), False, find)


def pixels_of_token(size: tuple[int, ...], grid: tuple[int, ...]) -> tuple[int, ...]:
    """Return the pixels of a map of some size that each token of a grid has, along each axis.

    Raises MaskError where the grid does not divide the size.
    """
    if len(size) != len(grid) or any(n % tokens for n, tokens in zip(size, grid, strict=True)):
        raise MaskError(
            f"a map of {'x'.join(map(str, size))} pixels does not divide into "
            f"{'x'.join(map(str, grid))} tokens: change the shape of the field"
        )
    return tuple(n // tokens for n, tokens in zip(size, grid, strict=True))
