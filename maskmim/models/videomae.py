"""VideoMAE: a ViT over the visible cubes of a clip, and a decoder of the predicted ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import FractionBelowOne, Positive, PositiveInt
from maskmim.models import vit
from maskmim.models.in_place import torch_uniform
from maskmim.models.layers import constraints, posembed
from maskmim.models.layers.blocks import Norm
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.heads import dense_heads, head_widths
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.posembed import FixedPositions
from maskmim.models.net import token_grid, vit_net
from maskmim.models.vit import Stack, make_blocks
from maskmim.types import Array, Encoded, Mask, Net, Spec


class AskedDecoder(Stack):
    """A narrow transformer over the visible tokens and a mask token for each predicted one.

    heads:     {name: values}; a head is a dense layer on the mask tokens.
    positions: a fixed table, see `posembed.fixed_positions`, of visible tokens and of mask tokens.
    biased:    whether `embed` has a bias, as the predictors of I-JEPA and V-JEPA.
    fillings:  mask tokens; of several a view takes that of its number, `Encoded.given['view']`.
    Tokens that are neither visible nor predicted do not enter, so that predicting fewer tokens
    makes the decoder cheaper; a token that is both enters twice, as in the release. Where the
    hidden tokens are the predicted ones this is MAE's decoder in another order.
    Source: PretrainVisionTransformer.forward of modeling_pretrain.py, MCG-NJU/VideoMAE and
    OpenGVLab/VideoMAEv2. As their `encoder_to_decoder`, `embed` has no bias by default, and torch's
    initialisation.
    """

    heads: Mapping[str, int]
    positions: str = "sinusoid"
    biased: bool = False
    fillings: int = 1

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from encoded tokens without prefix, and their mask."""
        width = self.size.width
        table = jnp.asarray(posembed.fixed_positions(self.positions, width, self.grid), self.dtype)
        embed = Dense(
            width, use_bias=self.biased, kernel_init=torch_uniform, dtype=self.dtype, name="embed"
        )
        filling = self.param("mask_token", small_normal, (self.fillings, 1, width))
        filling = jnp.asarray(filling)[encoded.given.get("view", 0)].astype(self.dtype)
        seen = constraints.embed_tokens(embed, encoded.tokens)
        seen = seen + table.at[mask.visible].get(mode="promise_in_bounds")
        queries = filling[None] + table.at[mask.predict].get(mode="promise_in_bounds")
        x, _ = make_blocks(self)(constraints.concat_tokens(seen, queries))
        _, x = constraints.split_tokens(x, seen.shape[1])
        x = Norm(self.epsilon, self.dtype, name="norm")(constraints.constrain_tokens(x))
        return dense_heads(self.heads, x, self.dtype)


def vit_videomae(
    spec: Spec,
    *,
    variant: str = "B",
    patch: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 16, 16),
    positions: FixedPositions = "sinusoid",
    decoder: str = "4x384x6",
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT with attention over space and time, without class token, and VideoMAE's decoder.

    variant, decoder: sizes as models.vit.variant takes them.
    patch:     (frames, height, width) of a cube.
    positions: the fixed table of encoder and decoder, a key of models.layers.posembed.FIXED;
               VideoMAE's 'sinusoid' numbers all tokens of a clip consecutively.
    Other keywords are those of `masked_vit.vit_mae`. params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: VideoMAE (arXiv 2203.12602), modeling_pretrain.py of MCG-NJU/VideoMAE.
    Differences: keys have a bias too, not only queries and values; it adds the same number to all
    of a query's logits, which cancels in the softmax. The embedding of cubes is drawn from Xavier's
    distribution, officially from torch's for convolutions, and the mask token from N(0, 0.02),
    which the official code truncates at one standard deviation.
    """
    vit.check_positions(positions, posembed.FIXED)
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = vit.build_encoder(
        variant, common, class_token=False, positions=positions, drop_path=drop_path
    )
    predictor = AskedDecoder(
        size=vit.variant(decoder),
        heads=head_widths(heads, patch, spec.channels),
        positions=positions,
        **common,
    )
    return vit_net(spec, patch=patch, encoder=encoder, decoder=predictor)
