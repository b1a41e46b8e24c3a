"""EVA-02's ViT without a decoder: rotary positions, SwiGLU, a norm inside the MLP."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import FractionBelowOne, Positive, Size2D
from maskmim.models import vit
from maskmim.models.encoder_only import NoHeads
from maskmim.models.layers import constraints
from maskmim.models.layers.attention import Attend, first_token_attention
from maskmim.models.layers.blocks import Dtype, Norm, scale_branch, scan_blocks, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense, DenseGeneral
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.layers.init import draw_normal, draw_normal_by_depth, with_init
from maskmim.models.layers.rotary import axial_angles, rotate_pairs
from maskmim.models.net import picture_net, token_grid
from maskmim.types import Array, Net, Randomness, Spec

# Hidden units of SwiGLU where they are not 8 / 3 of the width, rounded down.
HIDDEN = {"g": 4096}


class EvaAttention(nn.Module):
    """Multi-head self-attention with rotary positions; keys have no bias."""

    heads: int
    dtype: Dtype
    attend: Attend

    @nn.compact
    def __call__(self, x: Array, at: Array) -> tuple[Array, Array]:
        """Map [B, n, D] to ([B, n, D], attention of the first token f32[B, heads, n]).

        at: angles f32[B or 1, 1, n, size].
        """
        width = x.shape[-1]
        dense = partial(DenseGeneral, kernel_init=xavier, dtype=self.dtype)
        shape = self.heads, width // self.heads
        query = rotate_pairs(jnp.moveaxis(dense(shape, name="query")(x), 1, 2), at)
        key = rotate_pairs(jnp.moveaxis(dense(shape, use_bias=False, name="key")(x), 1, 2), at)
        value = jnp.moveaxis(dense(shape, name="value")(x), 1, 2)
        query, key, value = constraints.constrain_qkv(query, key, value)
        mixed = jnp.moveaxis(constraints.constrain_attended(self.attend(query, key, value)), 1, 2)
        return dense(width, axis=(-2, -1), name="out")(mixed), first_token_attention(query, key)


class SwiGlu(nn.Module):
    """A gated MLP with a norm before its last layer (sub-LN)."""

    hidden: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, n, D] -> [B, n, D]."""
        dense = partial(Dense, kernel_init=xavier, dtype=self.dtype)
        gated = nn.silu(dense(self.hidden, name="gate")(x)) * dense(self.hidden, name="up")(x)
        normed = Norm(self.epsilon, self.dtype, name="inner_norm")(gated)
        return dense(x.shape[-1], name="down")(normed)


class EvaBlock(nn.Module):
    """A pre-norm block of `EvaAttention` and `SwiGlu`."""

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend
    capture: tuple[str, ...] = ()

    @nn.compact
    def __call__(self, x: Array, keep: Array | None, at: Array) -> tuple[Array, dict[str, Array]]:
        """Map [B, n, D] -> ([B, n, D], captures as of `blocks.Block`).

        keep: f32[B, 2] factors of both branches. at: angles, as of `EvaAttention`.
        """
        norm = partial(Norm, self.epsilon, self.dtype)
        x = constraints.constrain_tokens(x)
        attention = EvaAttention(self.heads, self.dtype, self.attend, name="attention")
        mixed, first = attention(norm(name="norm1")(x), at)
        x = constraints.constrain_tokens(x + scale_branch(mixed, keep, 0))
        mlp = SwiGlu(self.hidden, self.epsilon, self.dtype, name="mlp")
        y = mlp(norm(name="norm2")(x))
        x = constraints.constrain_tokens(x + scale_branch(y, keep, 1))
        captures = {"layers": x, "attention": first}
        return x, {name: captures[name] for name in self.capture}


class EvaEncoder(vit.Encoder):
    """`vit.Encoder` with EVA-02's blocks; a visible token turns by its place in the whole grid.

    Prefix tokens do not turn.
    """

    def _run_blocks(
        self,
        x: Array,
        visible: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> tuple[Array, dict[str, Array]]:
        size = self.size
        at = jnp.asarray(axial_angles(self.grid, size.width // size.heads))[None]
        if visible is not None:
            at = at[0].at[visible].get(mode="promise_in_bounds")
        prefix = x.shape[1] - at.shape[1]
        at = jnp.pad(at, ((0, 0), (prefix, 0), (0, 0)))[:, None]
        keep = drop_path_factors(randomness, depth=size.depth, rate=self.drop_path)
        loop = {"depth": size.depth, "remat": self.remat, "unroll": self.unroll}
        make = scan_blocks(EvaBlock, **loop, in_axes=(0, nn.broadcast))
        shape = size.heads, size.hidden, self.epsilon, self.dtype
        return make(*shape, self.attend, capture, name="blocks")(x, keep, at)


def vit_eva(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build EVA-02's ViT over visible patches without a decoder or heads.

    It has a class token, learned positions at the input and rotary ones in every block. Keywords
    are those of `encoder_only.vit_encoder`; the MLP's hidden units are 8 / 3 of the width, 4096 for
    "g". params: {'encoder': ...}.
    Raises ModelError for sizes that do not divide and names that are unknown, RotaryError for heads
    whose size is not a multiple of 4.
    Source: EVA-02 (arXiv 2303.11331); eva_vit.py of jihaonew/UTA (arXiv 2405.19009). Differences:
    the class token has no position of its own, which is added to it alone; the patch embedding
    starts as Xavier's uniform, officially as torch's convolutions do.
    """
    size = vit.variant(variant)
    encoder = EvaEncoder(
        size=size._replace(hidden=HIDDEN.get(variant, size.width * 8 // 3)),
        class_token=True,
        registers=0,
        positions="learned",
        mask_token=False,
        drop_path=drop_path,
        **vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute()),
    )
    net = picture_net(
        spec,
        patch=patch,
        width=size.width,
        encoder=encoder,
        predictor=NoHeads(),
        says=(("encoder", f"{vit.describe_blocks(encoder)}, rotary positions, SwiGLU"),),
    )
    inside = r"blocks/(attention/(query|key|value)|mlp/(gate|up))/kernel$"
    ending = r"blocks/(attention/out|mlp/down)/kernel$"
    return with_init(net, ((inside, draw_normal), (ending, draw_normal_by_depth)))
