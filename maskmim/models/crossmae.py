"""CrossMAE: a decoder of cross-attention alone, which reads every layer of the encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.attention import Attend
from maskmim.models.layers.blocks import Dtype, Mlp, Norm, scan_blocks, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import DenseGeneral
from maskmim.models.layers.heads import dense_heads, describe_heads, head_widths
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.posembed import sincos
from maskmim.models.net import picture_net, token_grid
from maskmim.models.vit import Stack
from maskmim.types import Array, Encoded, Mask, Net, Spec, Tree

# The feature maps that the decoder mixes: what enters the first block, and every block's output.
MAPS = ("embedded", "layers")


class CrossAttention(nn.Module):
    """Multi-head attention of queries to other tokens; no query sees another query."""

    heads: int
    dtype: Dtype
    attend: Attend

    @nn.compact
    def __call__(self, x: Array, seen: Array) -> Array:
        """Map queries [B, P, W] and what they read, [B, n, D], to [B, P, W]."""
        width = x.shape[-1]
        size = width // self.heads
        dense = partial(DenseGeneral, kernel_init=xavier, dtype=self.dtype)
        query = jnp.moveaxis(dense((self.heads, size), name="query")(x), 1, 2)
        kv = dense((2, self.heads, size), name="kv")(seen)
        key, value = jnp.moveaxis(kv, (2, 3), (0, 2))
        query, key, value = constraints.constrain_qkv(query, key, value)
        mixed = constraints.constrain_attended(self.attend(query, key, value))
        mixed = jnp.moveaxis(mixed, 1, 2)
        return dense(width, axis=(-2, -1), name="out")(mixed)


class CrossBlock(nn.Module):
    """A pre-norm block: each query reads this block's mixture of feature maps, then an MLP."""

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend

    @nn.compact
    def __call__(self, x: Array, seen: Array) -> tuple[Array, None]:
        """Map queries [B, P, W] and the mixture [B, n, D] to ([B, P, W], None)."""
        norm = partial(Norm, self.epsilon, self.dtype)
        read = CrossAttention(self.heads, self.dtype, self.attend, name="attention")
        x, seen = constraints.constrain_tokens(x), constraints.constrain_tokens(seen)
        x = constraints.constrain_tokens(
            x + read(norm(name="norm1")(x), norm(name="norm_seen")(seen))
        )
        y = norm(name="norm2")(x)
        return constraints.constrain_tokens(x + Mlp(self.hidden, self.dtype, name="mlp")(y)), None


class CrossDecoder(Stack):
    """A decoder that predicts each token independently, from a learnt mixture of feature maps.

    Block j reads LN_j(sum_i mix[j, i] * map_i), where the maps are those of MAPS with their prefix
    tokens; the mixture has no bias and no softmax. A query starts as the mask token plus the fixed
    position of the token to predict; other tokens of the grid are not computed.
    heads: {name: values}; a head is a dense layer.
    Source: CrossMAE (arXiv 2401.14391), forward_decoder of models_cross.py.
    The mixture is drawn from Xavier's uniform distribution: WeightedFeatureMaps draws it from
    N(0, 1 / number of maps), but the official model then draws all its linear layers again, this
    one too (for ViT-B with nearly the same standard deviation, 0.283 instead of 0.277).
    """

    heads: Mapping[str, int]

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from the encoder's feature maps and the mask."""
        maps = jnp.concatenate([encoded.embedded[None], encoded.layers])
        mix = self.param("mix", xavier, (self.size.depth, len(maps))).astype(self.dtype)
        seen = jnp.einsum("jk,kbnd->jbnd", mix, maps)
        x, _ = self._blocks()(self._queries(mask), seen)
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return dense_heads(self.heads, x, self.dtype)

    def _queries(self, mask: Mask) -> Array:
        width = self.size.width
        token = self.param("mask_token", small_normal, (1, 1, width))
        table = jnp.asarray(sincos(width, self.grid))
        places = table.at[mask.predict].get(mode="promise_in_bounds")
        return (token + places).astype(self.dtype)

    def _blocks(self) -> nn.Module:
        """Return the blocks under one scan over their parameters and their mixtures."""
        size = self.size
        make = scan_blocks(CrossBlock, depth=size.depth, remat=self.remat, unroll=self.unroll)
        return make(size.heads, size.hidden, self.epsilon, self.dtype, self.attend, name="blocks")


def vit_crossmae(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    decoder_depth: Depth = 12,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build MAE's encoder over visible patches with CrossMAE's decoder; keywords as in `vit_mae`.

    params: {'encoder': ..., 'decoder': ...}, without the encoder's last norm.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: CrossMAE (arXiv 2401.14391), models_cross.py with weight_fm, use_input and all use_fm.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = vit.build_encoder(variant, common)
    decoder = CrossDecoder(
        heads=head_widths(heads, patch, spec.channels),
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **common,
    )
    reads = f"cross-attention to mixtures of {encoder.size.depth + 1} feature maps"
    words = (
        f"{vit.describe_blocks(decoder)}, {reads}, heads: {describe_heads(decoder.heads)} values"
    )
    net = picture_net(
        spec,
        patch=patch,
        width=encoder.size.width,
        encoder=encoder,
        predictor=decoder,
        captures=MAPS,
        says=(("encoder", vit.describe_blocks(encoder)), ("decoder", words)),
    )
    return fix_last_norm(net)


def fix_last_norm(net: Net) -> Net:
    """Return the network with the encoder's last norm fixed at scale 1 and bias 0, out of params.

    Encoded tokens and prefix still pass through it, for evaluation. The decoder reads the layers
    before it, so that it would get no gradient. The official encoder has no last norm, and
    fine-tuning starts with a fresh one.
    """
    fixed = {"norm": {"scale": jnp.ones(net.width), "bias": jnp.zeros(net.width)}}

    def init(key: Array) -> Tree:
        params = net.init(key)
        encoder = {name: part for name, part in params["encoder"].items() if name != "norm"}
        return {**params, "encoder": encoder}

    def encode(params: Tree, *arguments: Any, **options: Any) -> Encoded:
        with_norm = {**params, "encoder": {**params["encoder"], "norm": fixed}}
        return net.encode(with_norm, *arguments, **options)

    return net._replace(init=init, encode=encode)
