"""DMJD: ConvMAE's network whose encoder adds up its stages, and a head on visible tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, DtypeName, Positive, PositiveInt, Size2D
from maskmim.models import convmae, vit
from maskmim.models.convmae import MERGED, ConvMaeEncoder, ConvMaeSize, convmae_variant, fuse_stages
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.heads import describe_heads, head_widths
from maskmim.models.mae_decoder import Decoder
from maskmim.models.net import picture_net, token_grid
from maskmim.types import Array, Encoded, LearnedFunction, Net, Randomness, Spec, Tree

# Hidden units of MLPs in widths: of convolutional blocks, and of the decoder.
WIDE_MLP = 8
VARIANTS = {
    "B": convmae.VARIANTS["B"],
    "L": ConvMaeSize((384, 768, 1024), (2, 2, 23), 16),
}
# Layers of the head on visible tokens before its last one.
PROJECTIONS = 3
EPSILON = 1e-6


class FusedEncoder(ConvMaeEncoder):
    """ConvMAE's encoder, which gives visible tokens the sum of all stages, normalised.

    Without a mask its tokens are those of the third stage before any norm, which fine-tuning and
    probes read.
    Source: forward_encoder of models_dmjd.py, forward_features of models_convit.py, mx-mark/DMJD.
    """

    def _encode(
        self,
        units: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        encoded = super()._encode(units, visible, hidden, ("stages",), randomness)
        if visible is not None:
            encoded = encoded._replace(tokens=fuse_stages(self, encoded, visible))
        return encoded if "stages" in capture else encoded._replace(stages=None)


class Distiller(nn.Module):
    """Three dense layers with norms, GELU between them, and a linear one, on each token.

    The third norm has neither scale nor bias.
    Source: proj_embed and predictor of models_dmjd.py, mx-mark/DMJD.
    """

    hidden: int
    values: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, n, D] to f32[B, n, values]."""
        for number in range(PROJECTIONS):
            last = number == PROJECTIONS - 1
            dense = Dense(self.hidden, kernel_init=xavier, dtype=self.dtype, name=f"dense_{number}")
            x = constraints.constrain_examples(dense(x)).astype(jnp.float32)
            learnt = {"use_scale": not last, "use_bias": not last}
            x = nn.LayerNorm(EPSILON, name=f"norm_{number}", **learnt)(x)
            x = x if last else nn.gelu(x, approximate=False)
        dense = Dense(self.values, kernel_init=xavier, dtype=self.dtype, name="dense_last")
        return constraints.constrain_examples(dense(x)).astype(jnp.float32)


def distiller(
    width: int,
    *,
    values: PositiveInt = 108,
    hidden: PositiveInt = 512,
    dtype: DtypeName = "float32",
) -> LearnedFunction:
    """Return the head of the loss on visible tokens, a `Distiller`.

    values: of the target; hidden: values between the layers.
    dtype:  of the matrix products; norms and results are float32.
    Call: (params, [B, n, width]) -> f32[B, n, values]. Kernels start as Xavier's uniform.
    """
    module = Distiller(hidden, values, jnp.dtype(dtype))

    def init(key) -> Tree:
        return module.init(key, jnp.zeros((1, 1, width), jnp.float32))["params"]

    def call(params: Tree, x: Array) -> Array:
        return module.apply({"params": params}, x)

    words = f"{PROJECTIONS} layers of {hidden} with norms, then {values} values"
    return LearnedFunction(init, call, words)


def convit(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (4, 4),
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    heads: Mapping[str, PositiveInt | None] = {"hog": 108},
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build DMJD's ConViT: ConvMAE's stages, added up in the encoder, and MAE's decoder.

    The MLPs of convolutional blocks and of the decoder have 8 times their width, those of the
    transformer 4 times. Tokens, masks and evaluation are as of `convmae.convmae`.

    variant: a key of VARIANTS, or widths x depths x heads, see `convmae.convmae_variant`.
    Other keywords, params, `config.mesh.rules` and errors are those of `convmae.convmae`.
    Source: DMJD (arXiv 2301.00230); models_dmjd.py of mx-mark/DMJD.
    """
    known = VARIANTS.get(variant) or convmae_variant(variant)
    size = known._replace(mlps=(WIDE_MLP, WIDE_MLP, convmae.MLP))
    unit = MERGED**2 * patch[0], MERGED**2 * patch[1]
    common = vit.stack_fields(token_grid(spec.size, unit), norm_eps, compute())
    narrow = vit.decoder_size(decoder_depth, decoder_width, decoder_heads)
    decoder = Decoder(
        heads=head_widths(heads, unit, spec.channels),
        size=narrow._replace(hidden=WIDE_MLP * decoder_width),
        **common,
    )
    words = f"{vit.describe_blocks(decoder)}, heads: {describe_heads(decoder.heads)} values"
    stages = convmae.describe_stages(size, common["dtype"])
    return picture_net(
        spec,
        patch=unit,
        width=size.widths[2],
        encoder=FusedEncoder(patch=patch, size=size, **common),
        predictor=decoder,
        says=(("encoder", f"{stages}; their sum where visible"), ("decoder", words)),
    )
