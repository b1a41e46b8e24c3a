"""What every encoder of a `Net` takes and returns, and what encoders of one width share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import CAPTURES, Dtype, Norm
from maskmim.models.layers.errors import ModelError
from maskmim.types import Array, Encoded, Randomness


class Part(nn.Module):
    """An encoder or a decoder made of blocks; `vit.part_fields` returns these fields.

    grid:    tokens along each axis.
    epsilon: of the norms.
    dtype, remat, unroll: see `compute.compute`.
    """

    grid: tuple[int, ...]
    epsilon: float
    dtype: Dtype
    remat: str
    unroll: bool


class BaseEncoder(nn.Module):
    """An encoder as `net.picture_net` takes it; subclasses write `_encode`.

    captures: what it can capture beside its output, names of fields of `Encoded`.
    """

    captures: ClassVar[tuple[str, ...]] = ()

    @nn.compact
    def __call__(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...] = (),
        randomness: Randomness | None = None,
    ) -> Encoded:
        """Encode the visible tokens.

        patches:    f32[B, N, V] the values of every token.
        visible:    i32[B, K] tokens that enter; None for all. An encoder of `in_place.in_place_net`
                    ignores it, as every token enters.
        hidden:     bool[B, N] tokens whose values are withheld, None for none; those that enter
                    carry the mask embedding, where the encoder has one.
        capture:    names among `captures` of what to return besides.
        randomness: of dropped paths; without it none are dropped.
        Raises ModelError for what cannot be captured.
        """
        check_capture(capture, self.captures)
        return self._encode(patches, visible, hidden, capture, randomness)

    def _encode(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        raise NotImplementedError


class UniformEncoder(BaseEncoder, Part):
    """An encoder whose blocks keep the number and the width of the tokens, as those of a ViT.

    Subclasses write `_embed`, `_run_blocks` and, where it is not LayerNorm, `_norm`.
    """

    captures: ClassVar[tuple[str, ...]] = ("embedded", *CAPTURES)

    def _encode(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        prefix, tokens = self._embed(patches, visible, hidden)

        def run(x: Array, of_blocks: tuple[str, ...]) -> tuple[Array, Mapping[str, Array]]:
            return self._run_blocks(x, visible, of_blocks, randomness)

        return self._through(prefix, tokens, capture, run)

    def _through(
        self,
        prefix: Array,
        tokens: Array,
        capture: tuple[str, ...],
        run: Callable[[Array, tuple[str, ...]], tuple[Array, Mapping[str, Array]]],
    ) -> Encoded:
        """Return what embedded tokens become; run: (all tokens, captures of blocks) -> the same."""
        if "attention" in capture and not prefix.shape[1]:
            raise ModelError("attention is captured for the class token, and this model has none")
        x = constraints.concat_tokens(prefix, tokens)
        embedded = x if "embedded" in capture else None
        of_blocks = tuple(name for name in capture if name != "embedded")
        x, captured = run(x, of_blocks)
        prefix, tokens = constraints.split_tokens(self._norm()(x), prefix.shape[1])
        return Encoded(prefix, tokens, embedded=embedded, **captured)

    def _embed(
        self, patches: Array, visible: Array | None, hidden: Array | None
    ) -> tuple[Array, Array]:
        """Return prefix tokens [B, R, D] and the tokens that enter [B, K, D]."""
        raise NotImplementedError

    def _run_blocks(
        self,
        x: Array,
        visible: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return [B, R + K, D] of the last block, and what the blocks captured, by fields."""
        raise NotImplementedError

    def _norm(self) -> Callable[[Array], Array]:
        """Return the norm behind the last block."""
        return Norm(self.epsilon, self.dtype, name="norm")


def check_capture(capture: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raise ModelError unless everything to capture is among the known names."""
    unknown = [name for name in capture if name not in known]
    if unknown:
        choice = f"{', '.join(known)} or none" if known else "none"
        raise ModelError(f"this encoder cannot capture {', '.join(unknown)}: use {choice}")
