"""Codes of random projections, for baselines and for tests of models that predict codes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import PositiveInt, Seed
from maskmim.quantize.vector_quantize import EXACT, l2_normalise, nearest_cosine
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree, random_key, stateless


def random_projection(
    *, size: PositiveInt = 8192, width: PositiveInt = 16, seed: Seed = 0
) -> Teacher:
    """Return a teacher that gives the nearest random direction to a patch's random projection.

    size:  of the codebook.
    width: values that a patch is projected to.
    seed:  of codebook and projection, so that runs with other seeds share them.
    Each patch is centred and scaled to length 1 first, so that codes tell patterns and colours
    apart, not contrasts. Gives 'codes' i32[B, N].
    Source: BEST-RQ (arXiv 2202.01855, section 3.1), for speech.
    Differences: BEST-RQ normalises inputs over the data set.
    """

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        patches = net.patchify(net.inputs(context.batch)).astype(jnp.float32)
        patches = l2_normalise(patches - jnp.mean(patches, axis=-1, keepdims=True), epsilon=1e-6)
        first, second = jax.random.split(random_key(seed))
        projection = jax.random.normal(first, (patches.shape[-1], width), jnp.float32)
        codebook = jax.random.normal(second, (size, width), jnp.float32)
        vectors = jnp.einsum("bnv,vd->bnd", patches, projection, precision=EXACT)
        return {"codes": nearest_cosine(vectors, codebook)}

    return stateless(("codes",), False, find, classes={"codes": size})
