"""Transformer blocks: pre-norm attention and MLP, stacked under one scan."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.attention import (
    Attend,
    first_token_attention,
    plain_attention,
    present_attention,
)
from maskmim.models.layers.dense import Dense, DenseGeneral
from maskmim.types import Array

Dtype = Any
xavier = nn.initializers.xavier_uniform()

REMAT = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_saveable,
    "dots_no_batch": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}

# What a block can return besides its output.
CAPTURES = ("layers", "attention")
# What `Block` can return too, of its attention.
ROWS = ("queries", "keys", "values")


class Norm(nn.Module):
    """LayerNorm with statistics in float32."""

    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalise [..., D] -> [..., D] in the compute dtype."""
        norm = nn.LayerNorm(self.epsilon, dtype=jnp.float32, use_fast_variance=False, name="norm")
        return norm(x).astype(self.dtype)


class Attention(nn.Module):
    """Multi-head self-attention; the softmax is in float32."""

    heads: int
    dtype: Dtype
    attend: Attend

    @nn.compact
    def __call__(self, x: Array, absent: Array | None = None) -> tuple[Array, Array]:
        """Map [B, n, D] -> ([B, n, D], attention of the first token f32[B, heads, n]).

        absent: bool[B, n] tokens that none attends to; `attend` must leave them out itself.
        """
        width = x.shape[-1]
        size = width // self.heads
        qkv = DenseGeneral((3, self.heads, size), kernel_init=xavier, dtype=self.dtype, name="qkv")(
            x
        )
        query, key, value = constraints.constrain_qkv(*jnp.moveaxis(qkv, (2, 3), (0, 2)))
        mixed = constraints.constrain_attended(self.attend(query, key, value))
        merge = DenseGeneral(width, axis=(-2, -1), kernel_init=xavier, dtype=self.dtype, name="out")
        return merge(jnp.moveaxis(mixed, 1, 2)), first_token_attention(query, key, absent)


class ReadingAttention(nn.Module):
    """Multi-head attention with separate inputs for queries, keys and values."""

    heads: int
    dtype: Dtype
    attend: Attend

    @nn.compact
    def __call__(self, query: Array, key: Array, value: Array) -> Array:
        """Map [B, P, D], [B, n, D], [B, n, D] -> [B, P, D]."""
        width = query.shape[-1]
        dense = partial(DenseGeneral, kernel_init=xavier, dtype=self.dtype)
        split = partial(dense, (self.heads, width // self.heads))
        inputs = {"query": query, "key": key, "value": value}
        qkv = (jnp.moveaxis(split(name=name)(x), 1, 2) for name, x in inputs.items())
        mixed = constraints.constrain_attended(self.attend(*constraints.constrain_qkv(*qkv)))
        mixed = jnp.moveaxis(mixed, 1, 2)
        return dense(width, axis=(-2, -1), name="out")(mixed)


class Mlp(nn.Module):
    """Two dense layers with a GELU between them.

    approximate: whether it is computed by a tanh, as Flax and JAX do by default, not exactly.
    """

    hidden: int
    dtype: Dtype
    approximate: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, n, D] -> [B, n, D]."""
        up = Dense(self.hidden, kernel_init=xavier, dtype=self.dtype, name="up")
        down = Dense(x.shape[-1], kernel_init=xavier, dtype=self.dtype, name="down")
        return down(nn.gelu(up(x), approximate=self.approximate))


def scale_branch(branch: Array, keep: Array | None, column: int) -> Array:
    """Multiply a residual branch [B, n, D] by its examples' factors, a column of `keep`."""
    return branch if keep is None else branch * keep[:, column, None, None].astype(branch.dtype)


class Block(nn.Module):
    """A pre-norm transformer block; approximate: see `Mlp`."""

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend
    capture: tuple[str, ...] = ()
    approximate: bool = False

    @nn.compact
    def __call__(
        self, x: Array, keep: Array | None, absent: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Map [B, n, D] -> ([B, n, D], captures); keep: f32[B, 2] factors of both branches.

        absent: bool[B, n] tokens that none attends to; None for none, attended to by `attend`.
        """
        x = constraints.constrain_tokens(x)
        chosen = self.attend if absent is None else partial(present_attention, absent=absent)
        attend, rows = recorded(chosen)
        mixed, first = Attention(self.heads, self.dtype, attend, name="attention")(
            Norm(self.epsilon, self.dtype, name="norm1")(x), absent
        )
        x = constraints.constrain_tokens(x + scale_branch(mixed, keep, 0))
        y = Norm(self.epsilon, self.dtype, name="norm2")(x)
        mlp = Mlp(self.hidden, self.dtype, self.approximate, name="mlp")
        x = constraints.constrain_tokens(x + scale_branch(mlp(y), keep, 1))
        captures = {"layers": x, "attention": first, **rows}
        return x, {name: captures[name] for name in self.capture}


def recorded(attend: Attend) -> tuple[Attend, dict[str, Array]]:
    """Return attention that leaves its inputs in a dict, by the names of ROWS, and that dict.

    Read it in the trace in which the attention is computed.
    """
    rows: dict[str, Array] = {}

    def attend_and_record(query: Array, key: Array, value: Array) -> Array:
        rows.update(zip(ROWS, (query, key, value), strict=True))
        return attend(query, key, value)

    return attend_and_record, rows


def with_remat(block: type[nn.Module], remat: str) -> type[nn.Module]:
    """Return the block with the recomputation in the backward pass that a key of REMAT names."""
    if REMAT[remat] is None:
        return block
    return nn.remat(block, policy=REMAT[remat], prevent_cse=False)


def scan_blocks(
    block: type[nn.Module], *, depth: int, remat: str, unroll: bool, in_axes: Any = 0
) -> Callable[..., nn.Module]:
    """Return a constructor of `depth` blocks under one scan.

    Their parameters are stacked along a first axis.
    remat:   what the backward pass recomputes: a key of REMAT ('none': nothing, 'full': all).
    unroll:  run the blocks one after another instead of in a loop: same numbers, and XLA's FLOP
             counter sees every block.
    in_axes: of a block's inputs besides the first, as `nn.scan` takes it.
    """
    return nn.scan(
        with_remat(block, remat),
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=in_axes,
        length=depth,
        unroll=depth if unroll else 1,
    )


class Blocks(nn.Module):
    """Blocks whose parameters are stacked along a first axis, run by one scan.

    attend: how attention is computed, see `layers.attention`. remat, unroll: see `scan_blocks`.
    approximate: see `Mlp`.
    """

    depth: int
    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend = plain_attention
    remat: str = "none"
    unroll: bool = False
    approximate: bool = False

    @nn.compact
    def __call__(
        self,
        x: Array,
        capture: tuple[str, ...] = (),
        keep: Array | None = None,
        absent: Array | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        """Map [B, n, D] -> ([B, n, D], the captures, fields of `Encoded`).

        keep:   f32[depth, B, 2] factors of the residual branches, see `drop_path_factors`.
        absent: bool[B, n] tokens that no token attends to, in any block; None for none.
        """
        loop = {"depth": self.depth, "remat": self.remat, "unroll": self.unroll}
        scanned = scan_blocks(Block, in_axes=(0, nn.broadcast), **loop)
        shape = self.heads, self.hidden, self.epsilon, self.dtype
        blocks = scanned(*shape, self.attend, capture, self.approximate, name="blocks")
        return blocks(x, keep, absent)
