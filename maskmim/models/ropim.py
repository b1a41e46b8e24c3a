"""ROPIM's ViT: patch embeddings are projected along the token axis, no token is hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp

from maskmim.config.ranges import FractionBelowOne, Positive, PositiveInt, Size2D
from maskmim.masks.projection import Projection, project
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.init import draw_narrow_normal, with_init
from maskmim.models.layers.patches import patchify
from maskmim.models.net import token_grid
from maskmim.models.relative_vit import RelativeEncoder, relative_net
from maskmim.models.running_norms import apply_encoder
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec, Tree


class ProjectedPatches(NamedTuple):
    """Patches f32[B, N, V] and the projection of their embeddings."""

    patches: Array
    projection: Projection


class ProjectedEncoder(RelativeEncoder):
    """SimMIM's encoder without mask embedding, whose bare patch embeddings x become P x."""

    def _embed_patches(self, patches: Array | ProjectedPatches, hidden: Array | None) -> Array:
        """Return tokens [B, N, D], projected where the patches come with a projection."""
        if not isinstance(patches, ProjectedPatches):
            return self._linear(patches)
        return project(patches.projection, self._linear(patches.patches))


def projected_vit(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    layer_scale: Positive = 0.1,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.1,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build SimMIM's ViT for projected tokens, with linear heads on every token.

    Keywords are those of `relative_vit.relative_vit_in_place`. `encode` takes a `projection`
    besides, which `methods.projected` draws, and returns it in `Encoded.given`; without one tokens
    enter as they are. Masks hide nothing here.
    Kernels and the class token are drawn from N(0, 0.02) truncated at one standard deviation; in
    block l kernels that end a residual branch are divided by sqrt(2 l).
    Raises ModelError as `in_place.vit_in_place` does.
    Source: ROPIM (ICLR 2024, arXiv 2310.18737), models/ropim.py and models/vision_transformer.py,
    csiro-robotics/ROPIM. Differences: those of `relative_vit_in_place`.
    """
    common = vit.part_fields(token_grid(spec.size, patch), norm_eps, compute())
    own = {"size": vit.variant(variant), "layer_scale": layer_scale, "drop_path": drop_path}
    encoder = ProjectedEncoder(**own, **common)
    net = relative_net(spec, encoder, patch, heads, "projected patch embeddings")

    def encode(
        params: Tree,
        inputs: Array,
        mask: Mask | None,
        *,
        capture: tuple[str, ...] = (),
        randomness: Randomness | None = None,
        projection: Projection | None = None,
    ) -> Encoded:
        patches = constraints.constrain_examples(patchify(inputs, patch))
        seen = patches if projection is None else ProjectedPatches(patches, projection)
        arguments = seen, None, None, capture, randomness
        encoded = apply_encoder(encoder, params, *arguments, part="encoder")
        given = {} if projection is None else {"projection": projection}
        return encoded._replace(given=given)

    rules = (
        (r"blocks/.*(attention/out|mlp/down)/kernel$", _draw_by_depth),
        (r"encoder/.*(kernel|class_token)$", draw_narrow_normal),
    )
    return with_init(net._replace(encode=encode), rules)


def _draw_by_depth(key: Array, old: Array) -> Array:
    """Draw as `draw_narrow_normal`, divided by sqrt(2 l) in block l, the first dimension."""
    block = jnp.arange(1, len(old) + 1, dtype=old.dtype)
    narrow = draw_narrow_normal(key, old)
    return narrow / jnp.sqrt(2 * block).reshape(-1, *(1,) * (old.ndim - 1))
