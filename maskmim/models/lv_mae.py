"""LV-MAE: a masked autoencoder of sequences of embeddings, such as those of a long video."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, FractionBelowOne, Positive, PositiveInt
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Norm
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import dense_heads
from maskmim.models.layers.posembed import sincos
from maskmim.models.mae_decoder import fill_grid
from maskmim.models.net import picture_net, token_grid
from maskmim.models.present_vit import Marked, PresentEncoder, marked_net
from maskmim.models.vit import Size, Stack, make_blocks
from maskmim.types import Array, Encoded, Mask, Net, Spec, Tree


class EmbeddingEncoder(PresentEncoder):
    """A transformer whose tokens are embeddings as they are, with positions."""

    def _embedding(self) -> Callable[[Array], Array]:
        return lambda embeddings: embeddings.astype(self.dtype)


class EmbeddingDecoder(Stack):
    """MAE's decoder over sequences of different lengths, which no token of padding enters.

    values: of an embedding.
    """

    values: int

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict 'embeddings' f32[B, P, D] from the encoded tokens and their mask."""
        prefix, tokens = fill_grid(self, encoded, mask)
        table = jnp.asarray(sincos(self.size.width, self.grid), self.dtype)
        x = constraints.concat_tokens(prefix, tokens + table[None])
        absent = None
        if "padding" in encoded.given:  # not while parameters are drawn
            absent = jnp.pad(encoded.given["padding"], ((0, 0), (prefix.shape[1], 0)))
        x, _ = make_blocks(self)(x, absent=absent)
        _, x = constraints.split_tokens(x, prefix.shape[1])
        x = constraints.select_tokens(x, mask.predict)
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return dense_heads({"embeddings": self.values}, x, self.dtype)


def lv_mae(
    spec: Spec,
    *,
    depth: Depth = 32,
    heads: PositiveInt = 16,
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    padding: str = "padding",
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build the network of sequences of embeddings, a token each; its width is theirs.

    depth, heads: of the encoder, which has no layer before its blocks: input.channels is its width.
    padding: name of the field bool[B, N] that marks places without an embedding.
    Other keywords are those of `masked_vit.vit_mae`.

    `Net.inputs` gives `Marked`. No token attends to padding, in either part, so that what stands
    there reaches nothing; without a mask all embeddings enter, without the padding.
    params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for inputs of several axes and for sizes that do not divide.
    Source: LV-MAE (arXiv 2504.03501), MaskedAutoencoderViT of models_mae.py, amazon-science/lv-mae.
    Difference: mask and padding are arrays of static shape, where the official code loops over the
    examples of a batch.
    """
    if len(spec.size) != 1:
        raise ModelError(
            f"a sequence of embeddings has one axis, but input.size is {spec.size}: give the number"
            " of places, and the values of an embedding as input.channels"
        )
    common = vit.stack_fields(token_grid(spec.size, (1,)), norm_eps, compute())
    size = Size(depth, spec.channels, heads, 4 * spec.channels)
    encoder = EmbeddingEncoder(
        size=vit.check_size(size, "the encoder"),
        class_token=True,
        registers=0,
        positions="sincos",
        mask_token=False,
        drop_path=drop_path,
        **common,
    )
    decoder = EmbeddingDecoder(
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        values=spec.channels,
        **common,
    )
    net = picture_net(
        spec,
        patch=(1,),
        width=spec.channels,
        encoder=encoder,
        predictor=decoder,
        says=(
            ("encoder", f"{vit.describe_blocks(encoder)}, padding absent"),
            ("decoder", f"{vit.describe_blocks(decoder)}, heads: embeddings {spec.channels}"),
        ),
    )
    return _with_padding(marked_net(net, padding))


def _with_padding(net: Net) -> Net:
    """Return a network whose decoder is given the padding of the whole sequence, too."""

    def encode(params: Tree, inputs: Marked, mask: Mask | None, **options: Any) -> Encoded:
        encoded = net.encode(params, inputs, mask, **options)
        return encoded._replace(given={**encoded.given, "padding": inputs.absent})

    return net._replace(encode=encode)
