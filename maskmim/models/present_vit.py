"""A ViT whose tokens attend to none of those that are absent: missing cells, padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from maskmim.masks.core import nothing_hidden
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.net import array_of
from maskmim.models.vit import Encoder
from maskmim.types import Array, Batch, Encoded, Mask, Net, Randomness, Tree


class PresentEncoder(Encoder):
    """A ViT in which visible tokens that are hidden too are absent: no token attends to them.

    Where a mask embedding would stand, they keep a place in the static shape and nothing else:
    what they hold reaches no other token. `Encoded.given["absent"]` bool[B, K] marks them for the
    decoder. Pool the class token, as the mean over tokens counts them.
    """

    def _encode(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        prefix, tokens = self._embed(patches, visible, hidden)
        absent = self._absent(tokens, visible, hidden)
        ignored = jnp.pad(absent, ((0, 0), (prefix.shape[1], 0)))
        keep = drop_path_factors(randomness, depth=self.size.depth, rate=self.drop_path)

        def run(x: Array, of_blocks: tuple[str, ...]) -> tuple[Array, Mapping[str, Array]]:
            return self._blocks()(x, of_blocks, keep, ignored)

        encoded = self._through(prefix, tokens, capture, run)
        return encoded._replace(given={"absent": absent})

    def _absent(self, tokens: Array, visible: Array | None, hidden: Array | None) -> Array:
        """Return which of the tokens [B, K, D] that enter are hidden, bool[B, K]."""
        if hidden is None:
            return jnp.zeros(tokens.shape[:2], bool)
        return hidden if visible is None else jnp.take_along_axis(hidden, visible, axis=1)


class Marked(NamedTuple):
    """The values of tokens f32[B, N, V], and which of them are absent bool[B, N]."""

    values: Array
    absent: Array


def marked_net(net: Net, field: str) -> Net:
    """Return a network of values as one of `Marked`, whose absent tokens are always hidden.

    field: of the batch, bool[B, N], that marks absent tokens. Without a mask all others enter.
    """

    def inputs(batch: Batch) -> Marked:
        return Marked(net.inputs(batch), array_of(batch, field).astype(bool))

    def encode(params: Tree, inputs: Marked, mask: Mask | None, **options: Any) -> Encoded:
        mask = nothing_hidden(*inputs.absent.shape) if mask is None else mask
        mask = mask._replace(hidden=mask.hidden | inputs.absent)
        return net.encode(params, inputs.values, mask, **options)

    return net._replace(
        inputs=inputs,
        encode=encode,
        patchify=lambda marked: net.patchify(marked.values),
        restore=None,
        display=None,
    )
