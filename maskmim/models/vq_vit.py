"""BEiT v2's tokenizer: a ViT whose tokens become short unit vectors, and a ViT to decode them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, Positive, PositiveInt, Sizes
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.init import draw_normal, draw_normal_by_depth, with_init
from maskmim.models.net import picture_net, token_grid
from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array, Encoded, Mask, Net, Spec, Tree


class Tokenizer(NamedTuple):
    """A network around a codebook; the codebook itself belongs to the caller.

    net:     encoder, and a predictor that decodes the vectors without quantising them.
    width:   values of a vector.
    vectors: (params, Encoded with all N tokens) -> f32[B, N, width], each of length 1.
    decode:  (params, quantised vectors f32[B, N, width]) -> f32[B, N, values].
    """

    net: Net
    width: int
    vectors: Callable[[Tree, Encoded], Array]
    decode: Callable[[Tree, Array], Array]


class Reader(nn.Module):
    """Layers after the encoder: tokens to short vectors, and these to predictions.

    decoder: the ViT that decodes vectors.
    hidden:  units between a token and its vector.
    width:   of a vector.
    values:  predicted per token.
    The vectors are computed in float32 whatever the dtype.
    """

    decoder: vit.Encoder
    hidden: int
    width: int
    values: int
    dtype: Dtype

    def setup(self) -> None:
        """Make the dense layers; the decoder is a field."""
        self.shorten_hidden = Dense(self.hidden, dtype=jnp.float32)
        self.shorten = Dense(self.width, dtype=jnp.float32)
        wide = self.decoder.size.width
        self.read_hidden = Dense(wide, dtype=self.dtype)
        self.read = Dense(self.values, dtype=self.dtype)

    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {'features': f32[B, P, values]} from all N encoded tokens and the mask."""
        return {
            "features": constraints.select_tokens(self.decode(self.vectors(encoded)), mask.predict)
        }

    def vectors(self, encoded: Encoded) -> Array:
        """Return vectors f32[B, N, width], each of length 1."""
        return l2_normalise(
            self.shorten(
                jnp.tanh(self.shorten_hidden(constraints.constrain_tokens(encoded.tokens)))
            )
        )

    def decode(self, vectors: Array) -> Array:
        """Decode vectors f32[B, N, width] to f32[B, N, values]."""
        tokens = constraints.constrain_tokens(self.decoder(vectors, None, None).tokens)
        return self.read(jnp.tanh(self.read_hidden(tokens))).astype(jnp.float32)


def draw_torch_uniform(key: Array, old: Array) -> Array:
    """Draw from U(-1, 1) / sqrt(inputs), as torch initialises convolutions."""
    return jax.random.uniform(key, old.shape, old.dtype, -1, 1) / jnp.sqrt(old.shape[0])


INIT_RULES = (
    (r"blocks/.*(attention/out|mlp/down)/kernel$", draw_normal_by_depth),
    (r"embed/kernel$", draw_torch_uniform),
    (r"kernel$", draw_normal),
)


def vq_vit(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Sizes = (16, 16),
    width: PositiveInt = 32,
    features: PositiveInt = 512,
    decoder_depth: Depth = 3,
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Tokenizer:
    """Build BEiT v2's tokenizer: ViT, two dense layers, codebook, short ViT, two dense layers.

    width:         values of a code.
    features:      width of the predicted teacher's features.
    decoder_depth: blocks of the ViT that decodes, as wide as the encoder; 1 or 3.
    Other keywords are those of `masked_vit.vit_mae`. Both ViTs have learned positions and a class
    token. Raises ModelError as vit_mae does.
    params: {'encoder': ..., 'decoder': {'decoder': the ViT, 'shorten...', 'read...'}}.
    Source: BEiT v2 (arXiv 2208.06366), modeling_vqkd.py of microsoft/unilm, folder beit2.
    Differences: keys have a bias too, which cancels in the softmax; class tokens have no position;
    biases of patch embeddings start at 0.
    """
    grid = token_grid(spec.size, patch)
    common = vit.stack_fields(grid, norm_eps, compute())
    encoder = vit.build_encoder(variant, common, positions="learned")
    size = encoder.size
    decoder_variant = f"{decoder_depth}x{size.width}x{size.heads}x{size.hidden}"
    decoder = vit.build_encoder(decoder_variant, common, positions="learned")
    reader = Reader(decoder, size.width, width, features, common["dtype"])
    net = picture_net(
        spec,
        patch=patch,
        width=size.width,
        encoder=encoder,
        predictor=reader,
        says=(
            ("encoder", vit.describe_blocks(encoder)),
            ("codes", f"unit vectors of {width} values"),
            ("decoder", f"{vit.describe_blocks(decoder)}, head: features {features} values"),
        ),
    )

    def vectors(params: Tree, encoded: Encoded) -> Array:
        return reader.apply({"params": params["decoder"]}, encoded, method="vectors")

    def decode(params: Tree, quantised: Array) -> Array:
        return reader.apply({"params": params["decoder"]}, quantised, method="decode")

    return Tokenizer(with_init(net, INIT_RULES), width, vectors, decode)
