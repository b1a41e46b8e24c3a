"""LocalMIM: several blocks of the encoder predict features of hidden patches, at several scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, Norm
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import DenseGeneral
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import dense_heads, describe_heads
from maskmim.models.layers.patches import gather
from maskmim.models.layers.posembed import sincos
from maskmim.models.mae_decoder import decode_predicted, fill_grid
from maskmim.models.net import picture_net, token_grid
from maskmim.models.vit import Stack
from maskmim.types import Array, Encoded, Mask, Net, Spec

Scale = Literal["quarter", "half", "whole", "double"]
# Doublings of the grid of tokens; at the scale 'double' a cell covers 2 x 2 tokens.
DOUBLINGS = {"quarter": 2, "half": 1, "whole": 0, "double": -1}

# Bounds of torch's initialisation: 1 / sqrt(what enters) of a convolution, and of a transposed one
# 1 / sqrt(4 * channels that leave).
of_convolution = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
of_transposed = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")


class Divide(nn.Module):
    """A transposed convolution of 2 x 2 with stride 2, of each token by itself."""

    width: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., D] -> [..., 2, 2, width], rows before columns."""
        shape = 2, 2, self.width
        layer = DenseGeneral(
            shape, use_bias=False, kernel_init=of_transposed, dtype=self.dtype, name="parts"
        )
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        parts = layer(x)
        return parts + bias.astype(self.dtype).reshape(*[1] * (parts.ndim - 1), -1)


class TapDecoder(Stack):
    """Predicts the cells of each token from the output of one block of the encoder.

    MAE's decoder, whose head is preceded by a change of scale: by transposed convolutions to finer
    cells, or by the mean of 2 x 2 tokens to coarser ones. Where cells are finer, a token's values
    come from it alone, so that predicted tokens alone are computed.
    scale:  a key of DOUBLINGS.
    values: of a cell.
    """

    scale: Scale
    values: int

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> Array:
        """Return f32[B, P, V], V = values * (cells of a token), by value, row and column.

        At the scale 'double' V = values: those of the cell that covers the token.
        """
        prefix, tokens = fill_grid(self, encoded, mask)
        table = jnp.asarray(sincos(self.size.width, self.grid), self.dtype)
        x, count = constraints.concat_tokens(prefix, tokens + table[None]), prefix.shape[1]
        if DOUBLINGS[self.scale] < 0:
            return self._coarse(x, count, mask)
        return self._fine(decode_predicted(self, x, count, mask))

    def _fine(self, x: Array) -> Array:
        """Map the predicted tokens [B, P, W] to the values of their cells."""
        doublings = DOUBLINGS[self.scale]
        for number in range(doublings):
            if number:
                x = nn.gelu(Norm(self.epsilon, self.dtype, name="divided")(x), approximate=False)
            width = self.size.width // 2 ** (number + 1)
            x = Divide(width, self.dtype, name=f"divide{number}")(x)
        examples, tokens = x.shape[:2]
        side = 2**doublings
        # [B, P, r, c, r', c', W'] -> rows r, r' and columns c, c'
        by_axis = x.reshape(examples, tokens, *(2, 2) * doublings, -1)
        rows, columns = range(2, 2 + 2 * doublings, 2), range(3, 3 + 2 * doublings, 2)
        cells = by_axis.transpose(0, 1, *rows, *columns, by_axis.ndim - 1)
        values = self._head(cells.reshape(examples, tokens * side**2, -1))
        return jnp.moveaxis(values.reshape(examples, tokens, side**2, self.values), 2, 3).reshape(
            examples, tokens, -1
        )

    def _coarse(self, x: Array, prefix: int, mask: Mask) -> Array:
        """Map all tokens [B, prefix + N, W] to the values of the cell around each predicted one."""
        rows, columns = self.grid
        tokens = jnp.arange(rows * columns, dtype=jnp.int32)
        every = mask._replace(predict=jnp.broadcast_to(tokens, mask.hidden.shape))
        x = decode_predicted(self, x, prefix, every)
        cells = x.reshape(len(x), rows // 2, 2, columns // 2, 2, -1).mean(axis=(2, 4))
        values = self._head(cells.reshape(len(x), -1, x.shape[-1]))
        row, column = mask.predict // columns, mask.predict % columns
        return gather(values, row // 2 * (columns // 2) + column // 2)

    def _head(self, x: Array) -> Array:
        heads = {"cells": self.values}
        return dense_heads(heads, x, self.dtype, start=of_convolution)["cells"]


class TapDecoders(Stack):
    """A decoder for each tapped block; `size` is that of a decoder.

    taps:   {scale: number of the block, from 1}.
    depth:  of the encoder; its last norm is that of a tap on the last block, the others have one
            here.
    values: of a cell.
    """

    taps: Mapping[str, int]
    depth: int
    values: int

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Return {scale: f32[B, P, V]}, see `TapDecoder`."""
        names = ("grid", "epsilon", "dtype", "remat", "unroll", "size", "attend")
        fields: dict[str, Any] = {name: getattr(self, name) for name in names}
        return {
            scale: TapDecoder(scale=scale, values=self.values, name=scale, **fields)(
                self._tapped(encoded, scale, block), mask
            )
            for scale, block in self.taps.items()
        }

    def _tapped(self, encoded: Encoded, scale: str, block: int) -> Encoded:
        """Return the normalised tokens that a block puts out."""
        if block == self.depth:
            return encoded
        x = Norm(self.epsilon, self.dtype, name=f"{scale}_norm")(encoded.layers[block - 1])
        return Encoded(*constraints.split_tokens(x, encoded.prefix.shape[1]))


def vit_local_mim(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    taps: Mapping[str, Depth] = {"quarter": 2, "half": 4, "whole": 10, "double": 12},
    cell_values: PositiveInt = 27,
    decoder_depth: Depth = 1,
    decoder_width: PositiveInt = 256,
    decoder_heads: PositiveInt = 8,
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build MAE's encoder over visible patches with a small decoder for each tapped block.

    taps:        {scale: number of the block that predicts it, from 1}; the scale is the side of a
                 cell in patches: quarter, half, whole or double. One taps the last block.
    cell_values: values of a cell, 27 for HOG of 9 bins in three channels.
    The other keywords are those of `masked_vit.vit_mae`.
    The heads are the scales: with cells of a quarter 16 * cell_values per token, of a half
    4 * cell_values, else cell_values; of double cells those of the cell around the token. Averaged
    over hidden tokens this is the official loss, in which a coarse cell counts by the share of it
    that is hidden.
    params: {'encoder': ..., 'decoder': {scale: ..., '<scale>_norm': ...}}.
    Raises ModelError for unknown scales and blocks, for a last block without a tap, which would not
    learn, and for double cells on a grid of odd sides.
    Source: LocalMIM (arXiv 2303.05251), ViT/models_mim.py of Haoqing-Wang/LocalMIM. Difference:
    biases of the convolutions start at 0, officially uniformly as their kernels.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = vit.build_encoder(variant, common)
    _check_taps(taps, encoder.size.depth, common["grid"])
    decoders = TapDecoders(
        taps=dict(taps),
        depth=encoder.size.depth,
        values=cell_values,
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **common,
    )
    words = f"{vit.describe_blocks(decoders)}, each of {describe_taps(taps)}"
    below_last = any(block < encoder.size.depth for block in taps.values())
    return picture_net(
        spec,
        patch=patch,
        width=encoder.size.width,
        encoder=encoder,
        predictor=decoders,
        captures=("layers",) if below_last else (),
        says=(("encoder", vit.describe_blocks(encoder)), ("decoders", words)),
    )


def describe_taps(taps: Mapping[str, int]) -> str:
    """Describe taps in a line for people: 'quarter from block 2, double from block 12'."""
    by_block = sorted(taps.items(), key=lambda tap: tap[1])
    return describe_heads({f"{scale} from block": block for scale, block in by_block})


def _check_taps(taps: Mapping[str, int], depth: int, grid: tuple[int, ...]) -> None:
    if unknown := sorted(set(taps) - set(DOUBLINGS)):
        raise ModelError(
            f"unknown scale {', '.join(unknown)} in model.taps: use {', '.join(DOUBLINGS)}"
        )
    if not taps or max(taps.values()) != depth:
        raise ModelError(
            f"model.taps has the blocks {sorted(taps.values())} of {depth}: one tap must be on the "
            "last block, or the blocks above the last tap would not learn"
        )
    if "double" in taps and any(side % 2 for side in grid):
        raise ModelError(
            f"double cells do not fill a grid of {'x'.join(map(str, grid))} tokens: change "
            "input.size, or leave 'double' out of model.taps"
        )
