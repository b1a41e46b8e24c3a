"""Masks of examples that are mixed: each place is visible in one example of a group."""

from __future__ import annotations

import math
from typing import Annotated

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import Limits
from maskmim.masks.core import MaskError
from maskmim.masks.views import disjoint
from maskmim.types import Context, Mask, Randomness

Sources = Annotated[int, Limits(2, 64)]


def partition_counts(grid: tuple[int, ...], *, sources: Sources) -> tuple[int, int]:
    """Return the visible and hidden tokens of `partition`.

    Raises MaskError where the sources do not divide the tokens.
    """
    length = math.prod(grid)
    if length % sources:
        raise MaskError(
            f"{length} tokens do not divide among {sources} sources: change mask.sources, the "
            "patch size or the image size, so that each source shows equally many"
        )
    return length // sources, length - length // sources


@facts.sampler(counts=partition_counts)
def partition(randomness: Randomness, context: Context, *, sources: Sources) -> Mask:
    """Show each place in one of `sources` consecutive examples, equally many in each.

    sources: examples of a group; the first group is examples 0 ... sources - 1 of the batch. A
    group draws one random order of the places, addressed by the slot of its first example.
    Raises MaskError where the sources divide neither the tokens nor the batch.
    Source: MixedAE (arXiv 2303.17152), random mixing at a ratio of 1 / sources.
    """
    examples = len(randomness.slots)
    partition_counts((context.length,), sources=sources)
    if examples % sources:
        raise MaskError(
            f"{examples} examples do not divide into groups of {sources}, which show a place "
            f"once: give a multiple of {sources} examples, in training by train.batch_size"
        )
    groups = randomness._replace(slots=randomness.slots[::sources])
    masks = disjoint(groups, context, ratio=1 - 1 / sources, views=sources)

    def interleave(*parts: jax.Array) -> jax.Array:
        return jnp.stack(parts, axis=1).reshape(examples, *parts[0].shape[1:])

    return jax.tree.map(interleave, *masks)
