"""MAE-ST: a ViT over the visible cubes of a clip whose places in space and in time are learnt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import FractionBelowOne, Positive, PositiveInt
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.heads import dense_heads, head_widths
from maskmim.models.layers.init import small_normal
from maskmim.models.mae_decoder import decode_predicted, fill_grid
from maskmim.models.net import token_grid, vit_net
from maskmim.models.vit import Encoder, Stack
from maskmim.types import Array, Encoded, Mask, Net, Spec


class SeparableEncoder(Encoder):
    """MAE's encoder with separable positions, and a position for its class token."""

    def _positions(self) -> Array:
        return separable_positions(self)

    def _prefix(self, examples: int) -> Array:
        place = self.param("class_positions", small_normal, (1, 1, self.size.width))
        return super()._prefix(examples) + place


class SeparableDecoder(Stack):
    """MAE's decoder with separable positions and a class token of its own.

    heads: {name: values}; a head is a dense layer on the predicted tokens alone.
    The encoder's class token does not enter; that of the decoder is dropped before the heads.
    Source: forward_decoder of models_mae.py, facebookresearch/mae_st, with cls_embed and
    sep_pos_embed.
    """

    heads: Mapping[str, int]

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from the encoded tokens and their mask."""
        _, tokens = fill_grid(self, encoded, mask)
        width = self.size.width
        first = self.param("class_token", small_normal, (1, 1, width))
        first = first + self.param("class_positions", small_normal, (1, 1, width))
        first = jnp.broadcast_to(first.astype(self.dtype), (tokens.shape[0], 1, width))
        tokens = tokens + separable_positions(self).astype(self.dtype)[None]
        x = decode_predicted(self, constraints.concat_tokens(first, tokens), 1, mask)
        return dense_heads(self.heads, x, self.dtype)


def separable_positions(part: Stack) -> Array:
    """Return the learnt positions f32[N, D] of the calling part: of its time plus of its place.

    Parameters: 'time_positions' f32[steps, D] and 'space_positions' f32[rows * columns, D].
    """
    steps, *sides = part.grid
    width = part.size.width
    time = part.param("time_positions", small_normal, (steps, width))
    space = part.param("space_positions", small_normal, (math.prod(sides), width))
    return (time[:, None] + space[None]).reshape(-1, width)


def vit_mae_st(
    spec: Spec,
    *,
    variant: str = "L",
    patch: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 16, 16),
    decoder: str = "4x512x16",
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build MAE for clips with separable positions, whose heads predict one frame of each cube.

    variant, decoder: sizes as models.vit.variant takes them.
    patch: (frames, height, width) of a cube.
    heads: {name: values per token}; None stands for the values of one frame of a cube, the target
           `targets.cube_frames.normalised_frames`.
    Other keywords are those of `masked_vit.vit_mae`. params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: MAE-ST (arXiv 2205.09113), models_mae.py of facebookresearch/mae_st.
    Difference: tokens, positions and mask tokens are drawn from N(0, 0.02); the official code
    truncates all but the mask token at 2, which is 100 deviations.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = SeparableEncoder(
        size=vit.variant(variant),
        class_token=True,
        registers=0,
        positions="separable",
        mask_token=False,
        drop_path=drop_path,
        **common,
    )
    predictor = SeparableDecoder(
        size=vit.variant(decoder), heads=head_widths(heads, patch[1:], spec.channels), **common
    )
    return vit_net(spec, patch=patch, encoder=encoder, decoder=predictor)
