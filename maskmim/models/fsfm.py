"""FSFM: MAE with a second decoder, whose tokens are averaged to what an example is known by."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Norm, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.heads import head_widths
from maskmim.models.mae_decoder import Decoder, fill_grid, scatter_tokens
from maskmim.models.net import token_grid, vit_net
from maskmim.models.vit import Stack, make_blocks
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec, Tree

REPRESENTER = "representer"  # the function of `Net.calls`, and its parameters
MASK_TOKEN = "mask_token"  # what the pixel decoder reads of `Encoded.given`


class Representer(Stack):
    """A transformer as wide as the encoder over the whole grid, whose outputs are averaged.

    Its mask token is the pixel decoder's, too; here it stands behind the embedding. Tokens get no
    positions beside those that the encoder gave: the official class has a table of them, but leaves
    it at 0 in the online network, of which the target starts as a copy.
    Source: forward_rep_decoder of fsfm-3c/models_fsfm.py, wolo-wolo/FSFM. Difference: the last
    layer, which is linear, comes after the mean over tokens, with the same result.
    """

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> Array:
        """Return f32[B, W], the mean over the class token and the tokens of the grid."""
        width = self.size.width
        prefix, tokens = fill_grid(self, encoded, mask)
        x, _ = make_blocks(self)(constraints.concat_tokens(prefix, tokens))
        x = Norm(self.epsilon, self.dtype, name="norm")(constraints.constrain_tokens(x))
        mean = constraints.constrain_examples(jnp.mean(x.astype(jnp.float32), axis=1))
        dense = Dense(width, kernel_init=xavier, dtype=self.dtype, name="output")
        return constraints.constrain_examples(dense(mean)).astype(jnp.float32)


class PixelDecoder(Decoder):
    """MAE's decoder whose mask token is given, as wide as the encoder, and embedded as tokens are.

    Source: forward_decoder of the same file.
    """

    def _fill(self, encoded: Encoded, mask: Mask) -> tuple[Array, Array]:
        embed = Dense(self.size.width, kernel_init=xavier, dtype=self.dtype, name="embed")
        prefix = embed(constraints.constrain_examples(encoded.prefix))
        seen = constraints.embed_tokens(embed, encoded.tokens)
        filling = embed(self._mask_token(encoded))
        return prefix, scatter_tokens(filling, seen, mask.visible, math.prod(self.grid))

    def _mask_token(self, encoded: Encoded) -> Array:
        if self.is_initializing():  # Parameters do not depend on its values.
            return jnp.zeros((1, 1, encoded.tokens.shape[-1]), jnp.float32)
        return encoded.given[MASK_TOKEN]


def vit_fsfm(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    representer_depth: Depth = 2,
    representer_heads: PositiveInt = 16,
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build MAE's encoder and pixel decoder with a representer, which share a mask token.

    representer_depth, representer_heads: of its blocks, which are as wide as the encoder's.
    Other keywords are those of `masked_vit.vit_mae`; the head is 'pixels', the values of a patch.
    `Net.calls['representer']` is (params, Encoded, mask) -> f32[B, D], for masked and whole
    examples; it needs the params of the representer alone.
    params: {'encoder': ..., 'decoder': ..., 'representer': ...}.
    Raises ModelError as vit_mae does.
    Source: FSFM (CVPR 2025, arXiv 2412.12032), FSFMViT of fsfm-3c/models_fsfm.py, wolo-wolo/FSFM.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = vit.build_encoder(variant, common)
    decoder = PixelDecoder(
        heads=head_widths({"pixels": None}, patch, spec.channels),
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **common,
    )
    width = encoder.size.width
    size = vit.decoder_size(representer_depth, width, representer_heads)
    net = vit_net(spec, patch=patch, encoder=encoder, decoder=decoder)
    return with_representer(net, Representer(size=size, **common))


def with_representer(net: Net, representer: Representer) -> Net:
    """Return a network with a representer, whose mask token its predictor gets by `given`."""

    def init(key: Array) -> Tree:
        token, row = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1, net.width), jnp.float32)
        hidden = jnp.zeros((1, math.prod(representer.grid)), bool)
        mask = Mask(token, token, hidden, jnp.ones((1, 1)))
        made = representer.init(jax.random.fold_in(key, 1), Encoded(row, row), mask)["params"]
        return {**net.init(key), REPRESENTER: made}

    def represent(params: Tree, encoded: Encoded, mask: Mask) -> Array:
        mask = jax.tree.map(constraints.constrain_examples, mask)
        return representer.apply({"params": params[REPRESENTER]}, encoded, mask)

    def predict(
        params: Tree, encoded: Encoded, mask: Mask, *, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        given = {**encoded.given, MASK_TOKEN: params[REPRESENTER]["mask_token"]}
        return net.predict(params, encoded._replace(given=given), mask, randomness=randomness)

    says = (*net.says, (REPRESENTER, vit.describe_blocks(representer)))
    calls = {**net.calls, REPRESENTER: represent}
    return net._replace(init=init, predict=predict, calls=calls, says=says)
