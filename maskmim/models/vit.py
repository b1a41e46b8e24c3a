"""The Vision Transformer encoder over visible tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from maskmim.errors import count_of
from maskmim.models.layers import attention, constraints
from maskmim.models.layers.attention import Attend
from maskmim.models.layers.blocks import ROWS, Blocks, xavier
from maskmim.models.layers.compute import Compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.layers.encoder import Part, UniformEncoder
from maskmim.models.layers.errors import ModelError, check_blocks, unknown_variant
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.patches import gather
from maskmim.models.layers.posembed import FIXED, fixed_positions
from maskmim.types import Array, Randomness


class Size(NamedTuple):
    """Depth, width, heads and hidden units of a transformer."""

    depth: int
    width: int
    heads: int
    hidden: int


VARIANTS = {
    "nano": Size(2, 32, 2, 128),
    "micro": Size(6, 128, 4, 512),
    "mini": Size(6, 192, 6, 768),
    "Ti": Size(12, 192, 3, 768),
    "S": Size(12, 384, 6, 1536),
    "B": Size(12, 768, 12, 3072),
    "L": Size(24, 1024, 16, 4096),
    "H": Size(32, 1280, 16, 5120),
    "g": Size(40, 1408, 16, 6144),
}


def variant(name: str) -> Size:
    """Return the size of a named variant, or of one written as depth x width x heads.

    name: a key of VARIANTS, or '12x768x12' (the MLP has 4 times the width as hidden units), or
          '12x768x12x2048', which gives the hidden units.
    Raises ModelError for any other name, and where the heads do not divide the width.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){2,3}", name):
        form = "depth x width x heads such as '12x768x12'"
        raise unknown_variant("ViT", name, VARIANTS, form)
    depth, width, heads, *hidden = map(int, name.split("x"))
    size = Size(depth, width, heads, hidden[0] if hidden else 4 * width)
    return check_size(size, f"the variant {name!r}")


def check_size(size: Size, part: str) -> Size:
    """Return the size; raise ModelError where its heads do not divide its width, or it is too deep.

    part: what has the size, for the message.
    """
    check_blocks(size.depth)
    if size.width % size.heads:
        raise ModelError(
            f"{part}: {size.heads} heads do not divide the width {size.width}; change one of them"
        )
    return size


class Stack(Part):
    """A part whose blocks are those of a ViT; `stack_fields` returns all fields but the size."""

    size: Size
    attend: Attend


class Encoder(UniformEncoder, Stack):
    """Patch embedding, positions, prefix tokens, blocks and a last norm.

    positions: 'learned' or the name of a fixed table, see `posembed.fixed_positions`; prefix tokens
               have no positions, as MAE's class token, whose positions are zeros.
    registers: extra prefix tokens after the class token.
    drop_path: rate of the last block, see `drop_path.drop_path_factors`.
    last_norm: whether there is a norm behind the last block.
    """

    captures: ClassVar[tuple[str, ...]] = (*UniformEncoder.captures, *ROWS)

    class_token: bool
    registers: int
    positions: str
    mask_token: bool
    drop_path: float = 0.0
    last_norm: bool = True

    def _norm(self) -> Callable[[Array], Array]:
        return super()._norm() if self.last_norm else lambda x: x

    def _embed(
        self, patches: Array, visible: Array | None, hidden: Array | None
    ) -> tuple[Array, Array]:
        tokens = self._embed_tokens(patches, visible, hidden)
        return self._prefix(tokens.shape[0]).astype(self.dtype), tokens

    def _run_blocks(
        self,
        x: Array,
        visible: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> tuple[Array, dict[str, Array]]:
        keep = drop_path_factors(randomness, depth=self.size.depth, rate=self.drop_path)
        return self._blocks()(x, capture, keep)

    def _blocks(self) -> nn.Module:
        return make_blocks(self)

    def _embed_tokens(self, patches: Array, visible: Array | None, hidden: Array | None) -> Array:
        """Return visible tokens with positions; gathered first, so that the rest costs nothing."""
        positions = self._positions()
        if visible is not None:
            patches = constraints.constrain_examples(gather(patches, visible))
            positions = jnp.asarray(positions).at[visible].get(mode="promise_in_bounds")
            hidden = jnp.take_along_axis(hidden, visible, axis=1)
        width = self.size.width
        tokens = constraints.embed_tokens(self._embedding(), patches)
        if self.mask_token:
            filling = self.param("mask_token", small_normal, (1, 1, width)).astype(self.dtype)
            if hidden is not None:
                tokens = jnp.where(hidden[..., None], filling, tokens)
        return tokens + positions.astype(self.dtype).reshape(-1, *tokens.shape[1:])

    def _embedding(self) -> Callable[[Array], Array]:
        """Return the layer from the values of patches [B, n, V] to tokens [B, n, D]."""
        embed = Dense(self.size.width, kernel_init=xavier, dtype=self.dtype, name="embed")
        return lambda patches: embed(patches.astype(self.dtype))

    def _positions(self) -> Array:
        width = self.size.width
        if self.positions == "learned":
            return self.param("positions", small_normal, (math.prod(self.grid), width))
        return jnp.asarray(fixed_positions(self.positions, width, self.grid))

    def _prefix(self, examples: int) -> Array:
        width = self.size.width
        parts = [jnp.zeros((1, 0, width), jnp.float32)]
        if self.class_token:
            parts.append(self.param("class_token", small_normal, (1, 1, width)))
        if self.registers:
            parts.append(self.param("registers", small_normal, (1, self.registers, width)))
        prefix = jnp.concatenate(parts, axis=1)
        return jnp.broadcast_to(prefix, (examples, *prefix.shape[1:]))


def make_blocks(part: Stack, name: str = "stack") -> Blocks:
    """Return the blocks of the part that calls this."""
    size = part.size
    shape = size.depth, size.heads, size.hidden, part.epsilon, part.dtype
    return Blocks(*shape, part.attend, part.remat, part.unroll, name=name)


def part_fields(grid: tuple[int, ...], norm_eps: float, compute: Compute) -> dict[str, Any]:
    """Return the fields of every `Part`."""
    return {"grid": grid, "epsilon": norm_eps, **compute._asdict()}


def stack_fields(grid: tuple[int, ...], norm_eps: float, compute: Compute) -> dict[str, Any]:
    """Return the fields of every `Stack` but its size."""
    attend = attention.plain_attention if compute.unroll else attention.fastest_attention()
    return {**part_fields(grid, norm_eps, compute), "attend": attend}


def build_encoder(
    name: str,
    common: dict[str, Any],
    *,
    class_token: bool = True,
    registers: int = 0,
    positions: str = "sincos",
    mask_token: bool = False,
    drop_path: float = 0.0,
    last_norm: bool = True,
) -> Encoder:
    """Build the encoder of a variant's size.

    common: fields that `stack_fields` returns; the keywords are fields of `Encoder`.
    Raises ModelError for an unknown variant or unknown positions.
    """
    check_positions(positions, (*FIXED, "learned"))
    return Encoder(
        size=variant(name),
        class_token=class_token,
        registers=registers,
        positions=positions,
        mask_token=mask_token,
        drop_path=drop_path,
        last_norm=last_norm,
        **common,
    )


def decoder_size(depth: int, width: int, heads: int) -> Size:
    """Return the size of a decoder whose MLPs are four times as wide; raise as `check_size`."""
    return check_size(Size(depth, width, heads, 4 * width), "the decoder")


def check_positions(name: str, known: Iterable[str]) -> None:
    """Raise ModelError unless the positions are among the known ones."""
    if name not in known:
        raise ModelError(f"unknown positions {name!r}: use {' or '.join(map(repr, known))}")


def describe_blocks(part: nn.Module) -> str:
    """Return an encoder or a decoder in words: '12 blocks, width 768, 12 heads, float32, ...'."""
    size = part.size
    blocks, heads = count_of(size.depth, "block"), count_of(size.heads, "head")
    words = [f"{blocks}, width {size.width}, {heads}, {part.dtype}"]
    if isinstance(part, Encoder):
        words += ["class token"] if part.class_token else []
        words += [f"{part.registers} registers"] if part.registers else []
        words += [f"{part.positions} positions"] if part.positions != "sincos" else []
        words += ["mask embeddings"] if part.mask_token else []
        words += [] if part.last_norm else ["no last norm"]
    return ", ".join(words)
