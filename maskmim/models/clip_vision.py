"""CLIP's vision transformer: a norm before the first block, quick GELU, no bias of patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Positive, Size2D
from maskmim.models.encoder_only import NoHeads
from maskmim.models.layers import attention, constraints
from maskmim.models.layers.attention import Attend
from maskmim.models.layers.blocks import (
    CAPTURES,
    ROWS,
    Attention,
    Dtype,
    Norm,
    recorded,
    scan_blocks,
    xavier,
)
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.encoder import BaseEncoder
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.patches import gather
from maskmim.models.net import picture_net, token_grid
from maskmim.models.vit import Size, describe_blocks
from maskmim.models.vit import variant as size_of
from maskmim.types import Array, Encoded, Net, Randomness, Spec


def quick_gelu(x: Array) -> Array:
    """Return x * sigmoid(1.702 x), an approximation of GELU (arXiv 1606.08415)."""
    return x * jax.nn.sigmoid(1.702 * x)


class QuickMlp(nn.Module):
    """Two dense layers with a quick GELU between them."""

    hidden: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, n, D] -> [B, n, D]."""
        up = Dense(self.hidden, kernel_init=xavier, dtype=self.dtype, name="up")
        down = Dense(x.shape[-1], kernel_init=xavier, dtype=self.dtype, name="down")
        return down(quick_gelu(up(x)))


class ClipBlock(nn.Module):
    """A pre-norm transformer block whose MLP has a quick GELU."""

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend
    capture: tuple[str, ...]

    @nn.compact
    def __call__(self, x: Array, unused: None) -> tuple[Array, dict[str, Array]]:
        """Map [B, n, D] -> ([B, n, D], captures as of `blocks.Block`)."""
        x = constraints.constrain_tokens(x)
        y = Norm(self.epsilon, self.dtype, name="norm1")(x)
        attend, rows = recorded(self.attend)
        mixed, first = Attention(self.heads, self.dtype, attend, name="attention")(y)
        x = constraints.constrain_tokens(x + mixed)
        y = Norm(self.epsilon, self.dtype, name="norm2")(x)
        x = constraints.constrain_tokens(x + QuickMlp(self.hidden, self.dtype, name="mlp")(y))
        captures = {"layers": x, "attention": first, **rows}
        return x, {name: captures[name] for name in self.capture}


class ClipEncoder(BaseEncoder):
    """Patch embedding, class token, learned positions, a norm, blocks and a last norm.

    No token carries a mask embedding, as there is none.
    Source: CLIP (arXiv 2103.00020), clip/model.py of openai/CLIP. Difference: the last norm is
    applied to every token, in the official code to the class token alone.
    """

    captures: ClassVar[tuple[str, ...]] = (*CAPTURES, *ROWS)

    grid: tuple[int, int]
    size: Size
    epsilon: float
    dtype: Dtype
    attend: Attend
    remat: str = "none"
    unroll: bool = False

    def _encode(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        width, length = self.size.width, self.grid[0] * self.grid[1]
        embed = Dense(width, use_bias=False, kernel_init=xavier, dtype=self.dtype, name="embed")
        first = self.param("class_token", small_normal, (1, 1, width))
        positions = jnp.asarray(self.param("positions", small_normal, (length, width)), self.dtype)
        if visible is not None:
            patches = constraints.constrain_examples(gather(patches, visible))
            positions = positions.at[visible].get(mode="promise_in_bounds")
        x = constraints.embed_tokens(embed, patches.astype(self.dtype))
        x = x + positions.reshape(-1, *x.shape[1:])
        first = jnp.broadcast_to(first.astype(self.dtype), (len(x), 1, width))
        x = constraints.concat_tokens(first, x)
        x = Norm(self.epsilon, self.dtype, name="first_norm")(x)
        options = {"remat": self.remat, "unroll": self.unroll}
        make = scan_blocks(ClipBlock, depth=self.size.depth, **options)
        shape = self.size.heads, self.size.hidden, self.epsilon, self.dtype, self.attend
        x, captured = make(*shape, capture, name="blocks")(x, None)
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return Encoded(*constraints.split_tokens(x, 1), **captured)


def clip_vit(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    norm_eps: Positive = 1e-5,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build CLIP's picture encoder, to be trained; `teachers.pretrained.clip` is a fixed one.

    Keywords are those of `masked_vit.vit_mae`. There is no decoder: objectives call functions of
    `config.calls`, as `objectives.match_texts` does. Visible tokens alone enter.
    params: {'encoder': ...}.
    Raises ModelError for a variant that does not exist and sizes that do not divide.
    Source: CLIP (arXiv 2103.00020), clip/model.py of openai/CLIP. Differences: those of
    `ClipEncoder`; the class token has no position, which would be a second vector in its sum;
    kernels start as Xavier's uniform, tokens and positions from N(0, 0.02).
    """
    how, size, grid = compute(), size_of(variant), token_grid(spec.size, patch)
    attend = attention.plain_attention if how.unroll else attention.fastest_attention()
    options = {"remat": how.remat, "unroll": how.unroll}
    encoder = ClipEncoder(grid, size, norm_eps, how.dtype, attend, **options)
    return picture_net(
        spec,
        patch=patch,
        width=size.width,
        encoder=encoder,
        predictor=NoHeads(),
        says=(("encoder", describe_blocks(encoder)),),
    )
