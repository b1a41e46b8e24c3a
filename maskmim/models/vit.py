"""The Vision Transformer encoder over visible tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from maskmim.errors import UserError
from maskmim.models.layers import attention, constraints
from maskmim.models.layers.attention import Attend
from maskmim.models.layers.blocks import CAPTURES, REMAT, Blocks, Dtype, Norm, xavier
from maskmim.models.layers.drop_path import factors
from maskmim.models.layers.patches import gather
from maskmim.models.layers.posembed import FIXED, fixed
from maskmim.types import Array, Encoded, Randomness

small_normal = nn.initializers.normal(0.02)


class ModelError(UserError, ValueError):
    """Sizes or names that no model can be built from."""


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
    """The size of a named variant, or of one written as depth x width x heads.

    name: a key of VARIANTS, or '12x768x12' (hidden units of the MLP are 4 times the width), or
    '12x768x12x2048' with the hidden units.
    Raises ModelError for any other name and where the heads do not divide the width.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){2,3}", name):
        raise ModelError(
            f"unknown ViT variant {name!r}: use one of {', '.join(VARIANTS)}, or depth x width x "
            "heads such as '12x768x12'"
        )
    depth, width, heads, *hidden = map(int, name.split("x"))
    return checked(Size(depth, width, heads, hidden[0] if hidden else 4 * width))


def checked(size: Size) -> Size:
    """The size itself; ModelError where its heads do not divide its width."""
    if size.width % size.heads:
        raise ModelError(f"{size.heads} heads do not divide the width {size.width}")
    return size


class Part(nn.Module):
    """What every encoder and decoder of blocks is told; `settings` makes these fields.

    grid:   tokens along each axis. epsilon: of the norms. dtype: of the computation.
    remat, unroll: see `layers.stacked`.
    """

    grid: tuple[int, ...]
    epsilon: float
    dtype: Dtype
    remat: str
    unroll: bool


class Stack(Part):
    """A part whose blocks are those of a ViT; `computing` makes all fields but the size."""

    size: Size
    attend: Attend


class Encoder(Stack):
    """Patch embedding, positions, prefix tokens, blocks and a last norm.

    positions: 'learned' or the name of a fixed table, see `posembed.fixed`; the prefix tokens have
               none, as MAE's class token has zeros.
    registers: extra prefix tokens behind the class token.
    drop_path: rate of the last block, see `drop_path.factors`.
    """

    class_token: bool
    registers: int
    positions: str
    mask_token: bool
    drop_path: float = 0.0

    @nn.compact
    def __call__(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...] = (),
        randomness: Randomness | None = None,
    ) -> Encoded:
        """f32[B, N, V] patch values, i32[B, K] visible or None, bool[B, N] hidden or None.

        randomness: of dropped paths; without it none are dropped.
        """
        tokens = self._tokens(patches, visible, hidden)
        prefix = self._prefix(tokens.shape[0])
        if "attention" in capture and not prefix.shape[1]:
            raise ModelError("attention is captured for the class token, and this model has none")
        x = constraints.joined(prefix.astype(self.dtype), tokens)
        embedded = x if "embedded" in capture else None
        keep = factors(randomness, depth=self.size.depth, rate=self.drop_path)
        x, found = self._blocks()(x, of_blocks(capture), keep)
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        first, others = constraints.parted(x, prefix.shape[1])
        return Encoded(first, others, found.get("layers"), found.get("attention"), embedded)

    def _blocks(self) -> nn.Module:
        return stack_of(self)

    def _tokens(self, patches: Array, visible: Array | None, hidden: Array | None) -> Array:
        """Embedded tokens with positions; gathered first, as what is not visible costs nothing."""
        positions = self._positions()
        if visible is not None:
            patches = constraints.examples(gather(patches, visible))
            positions = positions.at[visible].get(mode="promise_in_bounds")
            hidden = jnp.take_along_axis(hidden, visible, axis=1)
        width = self.size.width
        embed = nn.Dense(width, kernel_init=xavier, dtype=self.dtype, name="embed")
        tokens = constraints.embedded(embed, patches.astype(self.dtype))
        if self.mask_token:
            filling = self.param("mask_token", small_normal, (1, 1, width)).astype(self.dtype)
            if hidden is not None:
                tokens = jnp.where(hidden[..., None], filling, tokens)
        return tokens + positions.astype(self.dtype)

    def _positions(self) -> Array:
        width = self.size.width
        if self.positions == "learned":
            return self.param("positions", small_normal, (math.prod(self.grid), width))
        return jnp.asarray(fixed(self.positions, width, self.grid))

    def _prefix(self, examples: int) -> Array:
        width = self.size.width
        parts = [jnp.zeros((1, 0, width), jnp.float32)]
        if self.class_token:
            parts.append(self.param("class_token", small_normal, (1, 1, width)))
        if self.registers:
            parts.append(self.param("registers", small_normal, (1, self.registers, width)))
        prefix = jnp.concatenate(parts, axis=1)
        return jnp.broadcast_to(prefix, (examples, *prefix.shape[1:]))


def stack_of(part: Stack, name: str = "stack") -> Blocks:
    """The blocks of the part that calls this."""
    size = part.size
    shape = size.depth, size.heads, size.hidden, part.epsilon, part.dtype
    return Blocks(*shape, part.attend, part.remat, part.unroll, name=name)


def of_blocks(capture: tuple[str, ...]) -> tuple[str, ...]:
    """What blocks capture for an encoder that captures 'embedded' besides; ModelError as below."""
    check_capture(capture, ("embedded", *CAPTURES))
    return tuple(name for name in capture if name != "embedded")


def check_capture(capture: tuple[str, ...], known: tuple[str, ...] = ()) -> None:
    """ModelError for what is to be captured and is not among the known ones."""
    unknown = [name for name in capture if name not in known]
    if unknown:
        choice = f"{', '.join(known)} or none" if known else "none"
        raise ModelError(f"this encoder cannot capture {', '.join(unknown)}: use {choice}")


def settings(
    grid: tuple[int, ...], norm_eps: float, remat: str, unroll: bool, dtype: str
) -> dict[str, Any]:
    """The fields of every `Part`; ModelError for an unknown remat policy."""
    if remat not in REMAT:
        raise ModelError(f"unknown remat policy {remat!r}: use one of {', '.join(REMAT)}")
    return {
        "grid": grid,
        "epsilon": norm_eps,
        "dtype": jnp.dtype(dtype),
        "remat": remat,
        "unroll": unroll,
    }


def computing(
    grid: tuple[int, ...], norm_eps: float, remat: str, unroll: bool, dtype: str
) -> dict[str, Any]:
    """The fields of every `Stack` but its size; ModelError for an unknown remat policy."""
    attend = attention.plain if unroll else attention.fastest()
    return {**settings(grid, norm_eps, remat, unroll, dtype), "attend": attend}


def encoder(
    name: str,
    common: dict[str, Any],
    *,
    class_token: bool = True,
    registers: int = 0,
    positions: str = "sincos",
    mask_token: bool = False,
    drop_path: float = 0.0,
) -> Encoder:
    """The encoder of a variant's size with the fields that `computing` gives.

    Raises ModelError for a variant or positions that are unknown.
    """
    check_positions(positions, (*FIXED, "learned"))
    return Encoder(
        size=variant(name),
        class_token=class_token,
        registers=registers,
        positions=positions,
        mask_token=mask_token,
        drop_path=drop_path,
        **common,
    )


def decoder_size(depth: int, width: int, heads: int) -> Size:
    """The size of a decoder whose MLPs are four times as wide; ModelError as `checked`."""
    return checked(Size(depth, width, heads, 4 * width))


def check_positions(name: str, known: Iterable[str]) -> None:
    """ModelError for positions that are not among the known ones."""
    if name not in known:
        raise ModelError(f"unknown positions {name!r}: use {' or '.join(map(repr, known))}")


def words(part: nn.Module) -> str:
    """An encoder or a decoder for people: '12 blocks, width 768, 12 heads, float32, ...'."""
    size = part.size
    told = [f"{size.depth} blocks, width {size.width}, {size.heads} heads, {part.dtype}"]
    if isinstance(part, Encoder):
        told += ["class token"] if part.class_token else []
        told += [f"{part.registers} registers"] if part.registers else []
        told += [f"{part.positions} positions"] if part.positions != "sincos" else []
        told += ["mask embeddings"] if part.mask_token else []
    return ", ".join(told)
