"""Streams with blocks of their own, then blocks over the tokens of all: encoders that meet late.

Source: AV-MAE (arXiv 2212.05922), vivit_multimodal.py of google-research/scenic.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Blocks, Norm
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.posembed import sinusoid
from maskmim.models.streams import Grid, Streams, StreamsEncoder
from maskmim.models.vit import Stack
from maskmim.types import Array, Encoded, Randomness


class MeetingEncoder(StreamsEncoder):
    """Blocks that see one stream each, then blocks that see the tokens of all streams.

    joint:  how many of the blocks of `size`, the last ones, see all streams.
    shared: whether the blocks before are the same for every stream.
    shown:  how many tokens of each stream a mask shows, in the order of `grids`; not read where all
            blocks are joint.
    A norm ends the blocks of each stream, and the joint ones. With a mask that shows other numbers
    of tokens in an example, though as many in all, the tokens of that example become nan: its
    tokens would pass through blocks of another stream.
    """

    captures = ("embedded", "layers")

    joint: int = 0
    shared: bool = False
    shown: tuple[int, ...] = ()

    def _encode(
        self,
        patches: Streams,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        # One token initialises a network: of all streams, so that each has its parameters.
        masked = visible is not None and not self.is_initializing()
        prefix, tokens = self._embed(patches, visible if masked else None, hidden)
        if masked and self.joint < self.size.depth:
            lengths = dict(zip(self.grids, self.shown, strict=True))
            tokens = self._check_places(tokens, visible, lengths)
        else:
            lengths = {name: math.prod(self.grids[name]) for name in patches}
            lengths = {name: lengths[name] for name in self.grids if name in patches}

        def run(x: Array, of_blocks: tuple[str, ...]) -> tuple[Array, Mapping[str, Array]]:
            return self._run_parts(x, lengths, of_blocks)

        encoded = self._through(prefix, tokens, capture, run)
        if visible is not None and not masked:
            return encoded._replace(tokens=encoded.tokens[:, : visible.shape[1]])
        return encoded

    def _norm(self) -> Callable[[Array], Array]:
        return lambda x: x  # `_run_parts` ends with one

    def _check_places(self, tokens: Array, visible: Array, lengths: Mapping[str, int]) -> Array:
        """Return the tokens, nan of examples that show other numbers of a stream's tokens."""
        if tokens.shape[1] != sum(lengths.values()):
            each = " and ".join(f"{count} of {name}" for name, count in lengths.items())
            raise ModelError(
                f"the mask shows {tokens.shape[1]} tokens, but model.ratio and model.ratios show "
                f"{each}: give mask and model the same ratio and ratios, and "
                "maskmim.masks.modalities.independent as the sampler"
            )
        numbers = range(len(lengths))
        expected = jnp.asarray(np.repeat(numbers, list(lengths.values())))[None]
        fits = jnp.all(stream_numbers(self.grids)[visible] == expected, axis=1)
        return jnp.where(fits[:, None, None], tokens, jnp.nan)

    def _run_parts(
        self, x: Array, lengths: Mapping[str, int], capture: tuple[str, ...]
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return all tokens [B, K, D] after blocks and norms, and what the blocks captured."""
        layers = []
        if depth := self.size.depth - self.joint:
            parts = _split(x, lengths.values())
            names = ["own" if self.shared else f"own_{name}" for name in lengths]
            stacks = {name: make_stack(self, name, depth) for name in dict.fromkeys(names)}
            # A stream that a mask hides completely has nothing to encode.
            found = [
                stacks[name](part, capture)
                for name, part in zip(names, parts, strict=True)
                if part.shape[1]
            ]
            x = constraints.concat_tokens(*(part for part, _ in found))
            layers += [jnp.concatenate([each for _, each in found], axis=2)] if capture else []
        if self.joint:
            x, of_joint = make_stack(self, "joint", self.joint)(x, capture)
            layers += [of_joint] if capture else []
        return x, {"layers": jnp.concatenate(layers)} if capture else {}


class NormedBlocks(Stack):
    """Some blocks with the GELU by tanh, and a norm behind the last; depth: of `size` at most."""

    depth: int

    @nn.compact
    def __call__(self, x: Array, capture: tuple[str, ...] = ()) -> tuple[Array, Array | None]:
        """Map [B, n, D] -> ([B, n, D], the output of every block where 'layers' is captured)."""
        shape = self.depth, self.size.heads, self.size.hidden, self.epsilon, self.dtype
        ways = self.attend, self.remat, self.unroll
        x, captured = Blocks(*shape, *ways, approximate=True, name="stack")(x, capture)
        return Norm(self.epsilon, self.dtype, name="norm")(x), captured.get("layers")


def make_stack(part: Stack, name: str, depth: int) -> NormedBlocks:
    """Return blocks of the part that calls this, of its width."""
    fields = ("grid", "epsilon", "dtype", "remat", "unroll", "size", "attend")
    return NormedBlocks(**{field: getattr(part, field) for field in fields}, depth=depth, name=name)


def positions(width: int, grids: Mapping[str, Grid]) -> dict[str, np.ndarray]:
    """Return the position table of each stream, sinusoids over its own tokens in one row."""
    return {name: sinusoid(width, grid) for name, grid in grids.items()}


def stream_numbers(grids: Mapping[str, Grid]) -> Array:
    """Return the number of the stream of every token, i32[N]."""
    lengths = [math.prod(grid) for grid in grids.values()]
    return jnp.asarray(np.repeat(np.arange(len(lengths)), lengths))


def _split(x: Array, lengths: Sequence[int]) -> list[Array]:
    """Return the parts of [B, K, D] that are so long."""
    ends = list(itertools.accumulate(lengths))
    return jnp.split(x, ends[:-1], axis=1)
