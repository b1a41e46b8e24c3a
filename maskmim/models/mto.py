"""Masked token optimisation, as we reconstruct it: hosts that report how alike their tokens are.

The formulas of MTO (arXiv 2404.08330) were not found; all of this file is ours, see configs/mto.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, FractionBelowOne, Positive, PositiveInt, Size2D
from maskmim.errors import count_of
from maskmim.models import vit
from maskmim.models.in_place import LinearHeads, require_every_token
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Norm
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import dense_heads, describe_heads, head_widths
from maskmim.models.layers.init import with_init
from maskmim.models.layers.patches import gather
from maskmim.models.layers.posembed import fixed_positions
from maskmim.models.mae_decoder import Decoder, fill_grid
from maskmim.models.net import picture_net, token_grid, vit_net
from maskmim.models.relative_vit import INIT_RULES, RelativeEncoder
from maskmim.models.vit import make_blocks
from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec

LIKENESS = "likeness"  # the output beside the heads


def likeness(layers: Array, mask: Mask) -> Array:
    """Return the mean squared cosine of each predicted token to all visible ones: f32[B, P, L].

    layers: [L, B, N, D] the outputs of L blocks at all tokens. Of one direction it is 1, at right
            angles 0.
    """
    units = l2_normalise(layers.astype(jnp.float32))
    hidden = jnp.stack([gather(tokens, mask.predict) for tokens in units])
    cosines = jnp.einsum("lbpd,lbnd->bpnl", hidden, units)
    seen = (~mask.hidden).astype(jnp.float32)[:, None, :, None]
    return jnp.sum(cosines**2 * seen, axis=2) / jnp.maximum(jnp.sum(seen, axis=2), 1.0)


class LikenessHeads(LinearHeads):
    """Linear heads, and the likeness of hidden and visible tokens in the first blocks."""

    blocks: int

    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Return {head: f32[B, P, values], 'likeness': f32[B, P, blocks]}."""
        layers = encoded.layers[: self.blocks, :, encoded.prefix.shape[1] :]
        return {**super().__call__(encoded, mask), LIKENESS: likeness(layers, mask)}


class LikenessDecoder(Decoder):
    """MAE's decoder, and the likeness of hidden and visible tokens in its first blocks."""

    blocks: int = 1

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Return {head: f32[B, P, values], 'likeness': f32[B, P, blocks]}."""
        prefix, tokens = fill_grid(self, encoded, mask)
        table = fixed_positions(self.positions, self.size.width, self.grid)
        x = constraints.concat_tokens(prefix, tokens + jnp.asarray(table, self.dtype)[None])
        x, captured = make_blocks(self)(x, ("layers",))
        layers = captured["layers"][: self.blocks, :, prefix.shape[1] :]
        _, x = constraints.split_tokens(x, prefix.shape[1])
        x = constraints.select_tokens(x, mask.predict)
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return {**dense_heads(self.heads, x, self.dtype), LIKENESS: likeness(layers, mask)}


class RecalibratedEncoder(RelativeEncoder):
    """SimMIM's encoder, in which visible tokens weigh hidden ones by a learnt factor of each head.

    Before weights are normalised they are multiplied by exp(mask_bias), which starts at 1.
    """

    def _encode(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        # Every token enters, so that `visible` is free to tell the blocks which are hidden.
        return super()._encode(patches, hidden, hidden, capture, randomness)

    def _biases(self, visible: Array | None) -> Array:
        factor = self.param("mask_bias", nn.initializers.zeros, (self.size.heads,))
        biases, hidden = super()._biases(None), visible
        if hidden is None:
            return biases
        of_class = jnp.zeros((len(hidden), 1), bool)
        token_hidden = jnp.concatenate([of_class, hidden], axis=1)
        pairs = ~token_hidden[:, :, None] & token_hidden[:, None, :]
        return biases[None] + factor[None, :, None, None] * pairs[:, None].astype(factor.dtype)


def mto_simmim(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    blocks: Depth = 4,
    layer_scale: Positive = 0.1,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.1,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build SimMIM's ViT with recalibrated attention, which reports likeness in its first blocks.

    blocks: how many of the encoder's blocks are reported (ours).
    Other keywords are those of `relative_vit.relative_vit_in_place`, which it equals at the start.
    Raises ModelError as that does, and for more blocks than there are.
    """
    grid = token_grid(spec.size, patch)
    common = vit.part_fields(grid, norm_eps, compute())
    size = vit.variant(variant)
    _check_blocks(blocks, size.depth)
    encoder = RecalibratedEncoder(size=size, layer_scale=layer_scale, drop_path=drop_path, **common)
    widths = head_widths(heads, patch, spec.channels)
    words = f"{vit.describe_blocks(encoder)}, class token, relative position bias, mask embeddings"
    reported = f"likeness in {count_of(blocks, 'block')}"
    net = picture_net(
        spec,
        patch=patch,
        width=size.width,
        encoder=encoder,
        predictor=LikenessHeads(widths, encoder.dtype, blocks),
        captures=("layers",),
        says=(
            ("encoder", f"{words}, recalibrated attention to them"),
            ("decoder", f"linear heads: {describe_heads(widths)} values, {reported}"),
        ),
    )
    return with_init(require_every_token(net, grid[0] * grid[1]), INIT_RULES)


def mto_mae(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    blocks: Depth = 2,
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build MAE, whose decoder reports likeness in its first blocks; attention is not recalibrated.

    blocks: how many of the decoder's blocks are reported (ours).
    Other keywords are those of `masked_vit.vit_mae`.
    Raises ModelError as that does, and for more blocks than there are.
    """
    _check_blocks(blocks, decoder_depth)
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    decoder = LikenessDecoder(
        heads=head_widths(heads, patch, spec.channels),
        blocks=blocks,
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **common,
    )
    encoder = vit.build_encoder(variant, common)
    return vit_net(spec, patch=patch, encoder=encoder, decoder=decoder)


def _check_blocks(blocks: int, depth: int) -> None:
    if blocks > depth:
        raise ModelError(f"model.blocks={blocks} of {depth}: report at most as many as there are")
