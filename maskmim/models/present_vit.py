"""A ViT whose tokens attend to none of those that are absent: missing cells, padding."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.models.layers import constraints
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.layers.encoder import check_capture
from maskmim.models.vit import Encoder
from maskmim.types import Array, Encoded, Randomness


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
        check_capture(capture, self.captures)
        prefix, tokens = self._embed(patches, visible, hidden)
        absent = self._absent(tokens, visible, hidden)
        x = constraints.concat_tokens(prefix, tokens)
        embedded = x if "embedded" in capture else None
        of_blocks = tuple(name for name in capture if name != "embedded")
        keep = drop_path_factors(randomness, depth=self.size.depth, rate=self.drop_path)
        ignored = jnp.pad(absent, ((0, 0), (prefix.shape[1], 0)))
        x, captured = self._blocks()(x, of_blocks, keep, ignored)
        prefix, tokens = constraints.split_tokens(self._norm()(x), prefix.shape[1])
        given = {"absent": absent}
        return Encoded(prefix, tokens, embedded=embedded, given=given, **captured)

    def _absent(self, tokens: Array, visible: Array | None, hidden: Array | None) -> Array:
        """Return which of the tokens [B, K, D] that enter are hidden, bool[B, K]."""
        if hidden is None:
            return jnp.zeros(tokens.shape[:2], bool)
        return hidden if visible is None else jnp.take_along_axis(hidden, visible, axis=1)
