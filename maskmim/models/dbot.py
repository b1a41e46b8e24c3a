"""dBOT: a masked autoencoder that predicts the class token's features beside the patches'."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, FractionBelowOne, Positive, PositiveInt, Sizes
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Norm
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.layers.heads import dense_heads
from maskmim.models.layers.posembed import fixed_positions
from maskmim.models.mae_decoder import fill_grid
from maskmim.models.net import token_grid, vit_net
from maskmim.models.vit import Stack, make_blocks
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec


class ClassDecoder(Stack):
    """MAE's decoder with heads on the class token too, and dropped paths.

    heads:     {name: values}; a head is one dense layer for the class token and predicted tokens.
    drop_path: rate of the last block, see `drop_path.drop_path_factors`.
    Source: forward_decoder of models_mae.py, liuxingbin/dbot. Difference: the official code
    computes its head on every token, this one where something is predicted, with the same numbers
    there.
    """

    heads: Mapping[str, int]
    drop_path: float

    @nn.compact
    def __call__(
        self, encoded: Encoded, mask: Mask, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        """Predict {head: f32[B, P, values], class_head: f32[B, 1, values]} for each head.

        randomness: of dropped paths; without it none are dropped.
        """
        prefix, tokens = fill_grid(self, encoded, mask)
        table = fixed_positions("sincos", self.size.width, self.grid)
        x = constraints.concat_tokens(prefix, tokens + jnp.asarray(table, self.dtype)[None])
        keep = drop_path_factors(randomness, depth=self.size.depth, rate=self.drop_path)
        x, _ = make_blocks(self)(x, (), keep)
        prefix, x = constraints.split_tokens(x, prefix.shape[1])
        x = constraints.concat_tokens(prefix, constraints.select_tokens(x, mask.predict))
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        made = dense_heads(self.heads, x, self.dtype)
        of_class = {f"class_{name}": values[:, :1] for name, values in made.items()}
        return {name: values[:, 1:] for name, values in made.items()} | of_class


def vit_dbot(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Sizes = (16, 16),
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    heads: Mapping[str, PositiveInt] = {"features": 768},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.2,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT encoder over visible patches with a decoder that predicts the class token too.

    variant, patch, compute: as of `masked_vit.vit_mae`; positions are sin-cos.
    heads:     {name: values per token}; the predictions of the class token are 'class_<name>'.
    drop_path: rate of the last block of the encoder and of the decoder, see
               models.layers.drop_path; evaluation drops nothing.
    params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: dBOT (arXiv 2209.03917), models_mae.py of liuxingbin/dbot.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    decoder = ClassDecoder(
        heads=dict(heads),
        drop_path=drop_path,
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **common,
    )
    encoder = vit.build_encoder(variant, common, drop_path=drop_path)
    return vit_net(spec, patch=patch, encoder=encoder, decoder=decoder)
