"""Codes that nobody learnt, for baselines and for tests of what predicts codes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.quantize.vector_quantize import EXACT, nearest_cosine, unit
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree


def random_projection(*, size: int = 8192, width: int = 16, seed: int = 0) -> Teacher:
    """Codes that nobody learnt: the nearest of random directions to a random projection of a patch.

    size:  of the codebook. width: values that a patch is projected to.
    seed:  of both, so that runs with other seeds share them.
    Each patch has its mean taken off and its length made 1 first, so that codes tell patterns and
    colours from each other, not contrasts. Gives 'codes' i32[B, N].
    Source: BEST-RQ (arXiv 2202.01855, section 3.1), which does so with speech.
    Differences: there inputs are normalised over the data set.
    """

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        patches = net.patchify(net.inputs(context.batch)).astype(jnp.float32)
        patches = unit(patches - jnp.mean(patches, axis=-1, keepdims=True), epsilon=1e-6)
        first, second = jax.random.split(jax.random.key(seed))
        projection = jax.random.normal(first, (patches.shape[-1], width))
        codebook = jax.random.normal(second, (size, width))
        vectors = jnp.einsum("bnv,vd->bnd", patches, projection, precision=EXACT)
        return {"codes": nearest_cosine(vectors, codebook)}

    return Teacher(("codes",), False, _nothing, find, _unchanged)


def _nothing(key: Array, net: Net, params: Tree) -> Tree:
    return ()


def _unchanged(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
    return extra
