"""MW-MAE: MAE on spectrograms whose decoder's heads look within windows of different sizes."""

from __future__ import annotations

import math
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
from maskmim.models.layers.blocks import Norm
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.encoder import Part
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.head_windows import head_window_stack
from maskmim.models.layers.heads import dense_heads, describe_heads, head_widths
from maskmim.models.layers.patches import gather
from maskmim.models.layers.posembed import sincos
from maskmim.models.mae_decoder import fill_grid
from maskmim.models.net import picture_net, token_grid
from maskmim.models.vit import Encoder, Size
from maskmim.types import Array, Encoded, Mask, Net, Spec

WINDOWS = (2, 5, 10, 25, 50, 125, 0, 0)


class LearningPositions(Encoder):
    """A ViT whose positions start as sines and cosines of the grid, and are trained."""

    def _positions(self) -> Array:
        return self.param("positions", lambda _: jnp.asarray(sincos(self.size.width, self.grid)))


class HeadWindowDecoder(Part):
    """A narrow transformer over the whole grid, whose heads look within windows.

    heads:   {name: values}; a head is a dense layer on the predicted tokens alone.
    windows: of each head of attention, see `head_windows.bias_places`; over the tokens in one row,
             so that a window of a row's length is one time step.
    Positions start as sines and cosines of a token's place in the row, and are trained.
    Source: MWMAE of src/modules/mae.py, SarthakYadav/mwmae-jax-official.
    """

    size: Size
    heads: Mapping[str, int]
    windows: tuple[int, ...]

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from the encoded tokens and their mask."""
        _, x = fill_grid(self, encoded, mask)
        size, length = self.size, math.prod(self.grid)
        table = self.param("positions", lambda _: jnp.asarray(sincos(size.width, (length,))))
        x = x + table.astype(self.dtype)[None]
        shape = self.windows, size.hidden, self.epsilon, self.dtype
        how = {"remat": self.remat, "unroll": self.unroll}
        x, _ = head_window_stack(size.depth, *shape, **how, name="blocks")(x, None)
        x = Norm(self.epsilon, self.dtype, name="norm")(gather(x, mask.predict))
        return dense_heads(self.heads, x, self.dtype)


def vit_mw_mae(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (4, 16),
    decoder_depth: Depth = 4,
    decoder_width: PositiveInt = 384,
    windows: tuple[NonNegativeInt, ...] = WINDOWS,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT without class token over visible patches, with a decoder of windowed heads.

    patch:   (time, mel) values.
    windows: for each head of the decoder's attention the number of tokens of its windows, 0 for
             all tokens; they must divide the number of tokens.
    Other keywords are those of `masked_vit.vit_mae`. Positions of both parts are trained.
    params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError as vit_mae does, and for windows that do not divide the tokens or the width.
    Source: MW-MAE (ICLR 2024), MWMAE of src/modules/mae.py, SarthakYadav/mwmae-jax-official, with
    window_sizes 0: its encoder has no windows.
    """
    grid = token_grid(spec.size, patch)
    _check_windows(windows, math.prod(grid))
    common = grid, norm_eps, compute()
    encoder = LearningPositions(
        size=vit.variant(variant),
        class_token=False,
        registers=0,
        positions="learned",
        mask_token=False,
        drop_path=drop_path,
        **vit.stack_fields(*common),
    )
    decoder = HeadWindowDecoder(
        size=vit.decoder_size(decoder_depth, decoder_width, len(windows)),
        heads=head_widths(heads, patch, spec.channels),
        windows=windows,
        **vit.part_fields(*common),
    )
    looks = ", ".join(str(side) if side else "all" for side in windows)
    about = f"heads look at {looks} tokens, heads: {describe_heads(decoder.heads)} values"
    return picture_net(
        spec,
        patch=patch,
        width=encoder.size.width,
        encoder=encoder,
        predictor=decoder,
        says=(
            ("encoder", vit.describe_blocks(encoder)),
            ("decoder", f"{vit.describe_blocks(decoder)}, {about}"),
        ),
    )


def _check_windows(windows: tuple[int, ...], length: int) -> None:
    wrong = [side for side in windows if side and length % side]
    if wrong or not windows:
        raise ModelError(
            f"model.windows {windows}: each must divide the {length} tokens, or be 0 for all of "
            f"them{f'; {wrong[0]} does not' if wrong else ', and there is one for each head'}"
        )
