"""Audio-MAE: MAE whose decoder attends within windows, shifted in every second block."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import (
    Depth,
    FractionBelowOne,
    NonNegativeInt,
    Positive,
    PositiveInt,
    Size2D,
)
from maskmim.models import vit
from maskmim.models.layers import posembed
from maskmim.models.layers.blocks import Norm
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.encoder import Part
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import dense_heads, describe_heads, head_widths
from maskmim.models.layers.patches import gather
from maskmim.models.layers.posembed import FixedPositions
from maskmim.models.layers.swin_blocks import Grid
from maskmim.models.layers.window_blocks import window_stack
from maskmim.models.mae_decoder import fill_grid
from maskmim.models.net import picture_net, token_grid
from maskmim.models.vit import Size
from maskmim.types import Array, Encoded, Mask, Net, Spec


class WindowDecoder(Part):
    """A narrow transformer over the whole grid whose attention is local, without prefix tokens.

    size:      with an even depth.
    heads:     {name: values}; a head is a dense layer on the predicted tokens alone.
    positions: a fixed table, see `posembed.fixed_positions`.
    Source: Audio-MAE (arXiv 2207.06405), section 3; forward_decoder of models_mae.py with
    decoder_mode 1, facebookresearch/AudioMAE.
    """

    size: Size
    heads: Mapping[str, int]
    positions: str
    side: int
    shift: int

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from the encoded tokens and their mask."""
        _, x = fill_grid(self, encoded, mask)
        size = self.size
        table = posembed.fixed_positions(self.positions, size.width, self.grid)
        x = x + jnp.asarray(table, self.dtype)[None]
        shape = self.grid, size.heads, size.hidden, self.side, self.shift, self.epsilon, self.dtype
        how = {"remat": self.remat, "unroll": self.unroll}
        x, _ = window_stack(size.depth, *shape, **how, name="blocks")(x, None)
        x = Norm(self.epsilon, self.dtype, name="norm")(gather(x, mask.predict))
        return dense_heads(self.heads, x, self.dtype)


def vit_audio_mae(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    positions: FixedPositions = "sincos_exchanged",
    decoder_depth: Depth = 16,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    window: PositiveInt = 4,
    shift: NonNegativeInt = 2,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT encoder over visible patches of a spectrogram, with a decoder of local attention.

    patch:     (time, mel) values.
    positions: of encoder and decoder, a key of models.posembed.FIXED.
    window:    side of the decoder's windows in tokens; it must divide the grid.
    shift:     tokens by which the windows of every second block are shifted in time, less than
               `window`; 0 for none. Nothing is shifted where one window spans all of the time.
    Other keywords are those of `masked_vit.vit_mae`; the encoder has a class token, which the
    decoder does not see.
    params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError as vit_mae does, for windows that do not fit and an odd number of blocks.
    Source: Audio-MAE (arXiv 2207.06405), models_mae.py of facebookresearch/AudioMAE.
    This follows the code, which made the published results, where it departs from the paper: the
    code shifts windows along time alone (the paper along both axes), and its positions are those of
    the grid with its axes exchanged, see `posembed.sincos_exchanged` (the paper's are 'sincos').
    """
    grid = token_grid(spec.size, patch)
    _check_windows(grid, window, shift, decoder_depth)
    vit.check_positions(positions, posembed.FIXED)
    common = grid, norm_eps, compute()
    encoder = vit.build_encoder(
        variant, vit.stack_fields(*common), positions=positions, drop_path=drop_path
    )
    decoder = WindowDecoder(
        heads=head_widths(heads, patch, spec.channels),
        positions=positions,
        side=window,
        shift=shift if grid[0] > window else 0,
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **vit.part_fields(*common),
    )
    local = f"windows of {window}, heads: {describe_heads(decoder.heads)} values"
    return picture_net(
        spec,
        patch=patch,
        encoder=encoder,
        predictor=decoder,
        width=encoder.size.width,
        says=(
            ("encoder", vit.describe_blocks(encoder)),
            ("decoder", f"{vit.describe_blocks(decoder)}, {local}"),
        ),
    )


def _check_windows(grid: Grid, window: int, shift: int, depth: int) -> None:
    if depth % 2:
        raise ModelError(f"decoder_depth is {depth}: blocks come in pairs, make it even")
    if not 0 <= shift < window or any(side % window for side in grid):
        raise ModelError(
            f"windows of {window} shifted by {shift} do not fit a grid of {grid[0]}x{grid[1]} "
            "tokens: the window must divide both sides and be larger than the shift"
        )
