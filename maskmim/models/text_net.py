"""Transformers over sequences of indices, such as the bytes of a text or ids of words.

A token is one index: `Spec` has one axis, one channel and `classes`, the size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, FractionBelowOne, NonNegativeInt, Positive, PositiveInt
from maskmim.models import vit
from maskmim.models.in_place import LinearHeads, require_every_token
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, Norm, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.posembed import FIXED, FixedPositions, Positions
from maskmim.models.mae_decoder import Decoder
from maskmim.models.net import array_of, picture_net
from maskmim.types import Array, Batch, Encoded, Mask, Net, Spec, Tree

HEAD = "tokens"
ONE = (1,)


class IndexEncoder(vit.Encoder):
    """The encoder of a ViT whose tokens are rows of a table.

    vocabulary: rows of the table, which start from N(0, 0.02) as in BERT.
    """

    vocabulary: int = 0

    def _embedding(self) -> Callable[[Array], Array]:
        table = nn.Embed(
            self.vocabulary,
            self.size.width,
            embedding_init=small_normal,
            dtype=self.dtype,
            name="embed",
        )
        return lambda indices: table(indices[..., 0].astype(jnp.int32))


class Transform(nn.Module):
    """A dense layer, GELU and a norm on the predicted tokens, before a table gives their logits.

    Source: BertPredictionHeadTransform of transformers.
    """

    width: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Return {HEAD: f32[B, P, D]} from all N encoded tokens and the mask."""
        tokens = constraints.select_tokens(encoded.tokens, mask.predict)
        dense = Dense(self.width, kernel_init=xavier, dtype=self.dtype, name="dense")
        tokens = nn.gelu(dense(tokens), approximate=False)
        return {HEAD: Norm(self.epsilon, self.dtype, name="norm")(tokens)}


def text_in_place(
    spec: Spec,
    *,
    variant: str = "B",
    class_token: bool = True,
    registers: NonNegativeInt = 0,
    positions: Positions = "learned",
    tied: bool = True,
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a transformer that sees every token, hidden ones as the mask embedding.

    tied:   whether the logits are products with the encoder's table, behind a dense layer, GELU and
            a norm, as in BERT; else the head is a linear layer.
    Other keywords are those of `masked_vit.vit_mae`. The head 'tokens' gives f32[B, P, classes].
    Samplers drop no tokens: wrap them in `masks.roles.in_place`.
    params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for inputs that are not a sequence of indices, for unknown names, and in
    `encode` for a mask that leaves tokens out.
    Source: BERT (arXiv 1810.04805). Differences: blocks are pre-norm, as those of a ViT; the tied
    logits have no biases; hidden tokens are always the mask embedding, in BERT 80 % of them.
    """
    encoder = _build_encoder(
        spec,
        variant,
        norm_eps,
        compute(),
        class_token=class_token,
        registers=registers,
        positions=positions,
        mask_token=True,
        drop_path=drop_path,
    )
    size, dtype = encoder.size, encoder.dtype
    untied = LinearHeads({HEAD: spec.classes}, dtype)
    head = Transform(size.width, norm_eps, dtype) if tied else untied
    kind = "products with the table of the encoder" if tied else "a linear head"
    net = _index_net(spec, encoder, head, f"{kind}, {spec.classes} classes")
    return require_every_token(_tied(net) if tied else net, spec.size[0])


def text_mae(
    spec: Spec,
    *,
    variant: str = "B",
    class_token: bool = True,
    registers: NonNegativeInt = 0,
    positions: Positions = "sincos",
    mask_token: bool = False,
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    decoder_positions: FixedPositions = "sincos",
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build an encoder over visible tokens alone, with MAE's decoder over the whole sequence.

    Keywords are those of `masked_vit.vit_mae`. The head 'tokens' gives f32[B, P, classes].
    params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for inputs that are not a sequence of indices and for unknown names.
    Source: MAE (arXiv 2111.06377) with a table in place of the embedding of patches.
    """
    how = compute()
    encoder = _build_encoder(
        spec,
        variant,
        norm_eps,
        how,
        class_token=class_token,
        registers=registers,
        positions=positions,
        mask_token=mask_token,
        drop_path=drop_path,
    )
    vit.check_positions(decoder_positions, FIXED)
    decoder = Decoder(
        heads={HEAD: spec.classes},
        positions=decoder_positions,
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **vit.stack_fields(spec.size, norm_eps, how),
    )
    words = f"{vit.describe_blocks(decoder)}, {spec.classes} classes"
    return _index_net(spec, encoder, decoder, words)


def check_indices(spec: Spec) -> None:
    """Raise ModelError unless an example is one sequence of indices."""
    if not spec.classes or spec.channels != 1 or len(spec.size) != 1:
        raise ModelError(
            f"the input {spec.stream!r} of size {'x'.join(map(str, spec.size))} has "
            f"{spec.channels} channels and {spec.classes} classes, but this model reads a sequence "
            "of indices: set input.size to one number, input.channels=1, and input.classes to the "
            "size of the vocabulary (256 for bytes)"
        )
    if spec.streams:
        raise ModelError(
            f"this model reads {spec.stream!r} alone, but input.streams has "
            f"{', '.join(spec.streams)}: remove them, or use a model of several streams"
        )


def _build_encoder(
    spec: Spec, variant: str, norm_eps: float, how: Compute, **fields: Any
) -> IndexEncoder:
    """Return the encoder; raise as `check_indices`."""
    check_indices(spec)
    vit.check_positions(fields["positions"], (*FIXED, "learned"))
    common = vit.stack_fields(spec.size, norm_eps, how)
    return IndexEncoder(size=vit.variant(variant), vocabulary=spec.classes, **fields, **common)


def _index_net(spec: Spec, encoder: IndexEncoder, predictor: nn.Module, words: str) -> Net:
    """Return the network of an encoder of indices and a predictor, which draws no pictures."""
    net = picture_net(
        spec,
        patch=ONE,
        width=encoder.size.width,
        encoder=encoder,
        predictor=predictor,
        says=(("encoder", vit.describe_blocks(encoder)), ("decoder", words)),
    )
    return of_indices(net, spec)


def of_indices(net: Net, spec: Spec) -> Net:
    """Return a network whose inputs are checked to be indices, and which draws no pictures."""

    def inputs(batch: Batch) -> Array:
        indices = array_of(batch, spec.stream)
        if indices.shape[1:] != spec.shape or not jnp.issubdtype(indices.dtype, jnp.integer):
            raise ModelError(
                f"{spec.stream} of {indices.dtype}{list(indices.shape[1:])} meets a model for "
                f"indices {list(spec.shape)}: check input.size and data.augment"
            )
        return indices.astype(jnp.int32)

    return net._replace(inputs=inputs, restore=None, display=None)


def _tied(net: Net) -> Net:
    """Return a network whose head is multiplied with the encoder's table."""

    def predict(params: Tree, encoded: Encoded, mask: Mask, **options: Any) -> dict[str, Array]:
        vectors = net.predict(params, encoded, mask, **options)[HEAD]
        table = params["encoder"]["embed"]["embedding"].astype(vectors.dtype)
        logits = constraints.constrain_outputs(jnp.einsum("bpd,vd->bpv", vectors, table))
        return {HEAD: logits.astype(jnp.float32)}

    return net._replace(predict=predict)
