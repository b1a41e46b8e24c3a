"""CRATE's autoencoder: blocks that compress by subspaces and sparsify by a dictionary."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import NonNegative, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.in_place import require_every_token
from maskmim.models.layers import constraints
from maskmim.models.layers.attention import Attend, first_token_attention
from maskmim.models.layers.blocks import Dtype, Norm, scan_blocks, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense, DenseGeneral
from maskmim.models.layers.encoder import UniformEncoder
from maskmim.models.layers.heads import dense_heads, head_widths
from maskmim.models.net import token_grid, vit_net
from maskmim.models.vit import Stack
from maskmim.training.sharding import Rules, transformer
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec, Tree

# U(-sqrt(6 / inputs), sqrt(6 / inputs)): torch's kaiming_uniform_ with its defaults.
kaiming = nn.initializers.variance_scaling(2.0, "fan_in", "uniform")
# Of the norms inside blocks, whatever the epsilon of the last norms.
BLOCK_EPSILON = 1e-5


def rules() -> Rules:
    """Return sharding rules for `config.mesh.rules`: `sharding.transformer` and CRATE's blocks.

    Subspaces are split over `tensor` as heads are, dictionaries along their atoms.
    """
    return (
        (r"blocks/attention/subspaces/kernel$", (None, "fsdp", "tensor", None)),
        (r"blocks/(sparsify/)?dictionary(/kernel)?$", (None, "fsdp", "tensor")),
        *transformer(),
    )


class SubspaceAttention(nn.Module):
    """Self-attention with one projection, to a subspace per head, for queries, keys and values.

    Source: MSSA of CRATE (arXiv 2306.01129), equation 11; Attention of
    model/crate_ae/crate_encoder.py, Ma-Lab-Berkeley/CRATE, whose output projection is learnt.
    Difference: a single head has an output projection too.
    """

    heads: int
    dtype: Dtype
    attend: Attend

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Map [B, n, D] -> ([B, n, D], attention of the first token f32[B, heads, n])."""
        width = x.shape[-1]
        w = jnp.moveaxis(subspaces(self.heads, width, self.dtype)(x), 1, 2)
        query, key, value = constraints.constrain_qkv(w, w, w)
        mixed = constraints.constrain_attended(self.attend(query, key, value))
        merge = DenseGeneral(width, axis=(-2, -1), kernel_init=xavier, dtype=self.dtype, name="out")
        return merge(jnp.moveaxis(mixed, 1, 2)), first_token_attention(query, key)


def subspaces(heads: int, width: int, dtype: Dtype) -> nn.Module:
    """Return the layer 'subspaces', [B, n, D] -> [B, n, heads, D / heads]."""
    shape = heads, width // heads
    return DenseGeneral(shape, use_bias=False, kernel_init=xavier, dtype=dtype, name="subspaces")


class Sparsify(nn.Module):
    """One step of ISTA from the token itself towards its non-negative sparse code.

    With the dictionary A of D atoms it maps y to relu(y + step * (A' (y - A y) - penalty)), a
    proximal gradient step on |y - A z|^2 / 2 + penalty * |z|_1 with z >= 0. There is no residual.
    Source: section 2.3 of CRATE (arXiv 2306.01129); FeedForward of model/crate_ae/crate_encoder.py.
    Difference: two matrix products; the official code makes three for the same numbers.
    """

    step: float
    penalty: float
    dtype: Dtype

    @nn.compact
    def __call__(self, y: Array) -> Array:
        """Map [B, n, D] -> [B, n, D]; the rows of `dictionary` are the columns of A."""
        width = y.shape[-1]
        dictionary = self.param("dictionary", kaiming, (width, width)).astype(self.dtype)
        descent = (y - y @ dictionary) @ dictionary.T
        return nn.relu(y + self.step * (descent - self.penalty))


class EncoderBlock(nn.Module):
    """Compress by attention with a residual, then sparsify.

    Source: Block_CRATE of model/crate_ae/crate_encoder.py.
    """

    heads: int
    step: float
    penalty: float
    dtype: Dtype
    attend: Attend
    capture: tuple[str, ...] = ()

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, dict[str, Array]]:
        """Map [B, n, D] -> ([B, n, D], captures)."""
        x = constraints.constrain_tokens(x)
        compress = SubspaceAttention(self.heads, self.dtype, self.attend, name="attention")
        mixed, first = compress(Norm(BLOCK_EPSILON, self.dtype, name="norm1")(x))
        x = constraints.constrain_tokens(x + mixed)
        y = Norm(BLOCK_EPSILON, self.dtype, name="norm2")(x)
        x = Sparsify(self.step, self.penalty, self.dtype, name="sparsify")(y)
        captures = {"layers": constraints.constrain_tokens(x), "attention": first}
        return captures["layers"], {name: captures[name] for name in self.capture}


class DecoderBlock(nn.Module):
    """Undo a block of the encoder: apply a dictionary, then subtract the attention.

    Source: Block_CRATE of model/crate_ae/crate_decoder.py.
    """

    heads: int
    dtype: Dtype
    attend: Attend

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, None]:
        """Map [B, n, D] -> ([B, n, D], None)."""
        x = constraints.constrain_tokens(x)
        shape = {"use_bias": False, "kernel_init": kaiming, "dtype": self.dtype}
        dictionary = Dense(x.shape[-1], **shape, name="dictionary")
        y = dictionary(Norm(BLOCK_EPSILON, self.dtype, name="norm1")(x))
        y = constraints.constrain_tokens(y)
        expand = SubspaceAttention(self.heads, self.dtype, self.attend, name="attention")
        mixed, _ = expand(Norm(BLOCK_EPSILON, self.dtype, name="norm2")(y))
        return constraints.constrain_tokens(y - mixed), None


class CrateEncoder(vit.Encoder):
    """MAE's embedding, class token and positions, with CRATE's blocks; every token enters.

    step, penalty: of `Sparsify`. The hidden units of `size` are not used: there is no MLP.
    """

    captures: ClassVar[tuple[str, ...]] = UniformEncoder.captures

    step: float = 0.1
    penalty: float = 0.5

    def _run_blocks(
        self,
        x: Array,
        visible: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> tuple[Array, dict[str, Array]]:
        loop = {"depth": self.size.depth, "remat": self.remat, "unroll": self.unroll}
        fields = self.size.heads, self.step, self.penalty, self.dtype, self.attend, capture
        return scan_blocks(EncoderBlock, **loop)(*fields, name="blocks")(x)


class CrateDecoder(Stack):
    """CRATE's decoder blocks on all encoded tokens, a norm, and heads on the predicted ones.

    heads: {name: values}; a head is a dense layer.
    There is no embedding, no mask token and no positions: the encoder had them all.
    Source: forward_decoder of model/crate_ae/crate_ae.py, which computes its head on every token.
    """

    heads: Mapping[str, int]

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from all N encoded tokens and the mask."""
        size = self.size
        make = scan_blocks(DecoderBlock, depth=size.depth, remat=self.remat, unroll=self.unroll)
        x = constraints.concat_tokens(encoded.prefix, encoded.tokens)
        x, _ = make(size.heads, self.dtype, self.attend, name="blocks")(x)
        _, x = constraints.split_tokens(x, encoded.prefix.shape[1])
        x = constraints.select_tokens(x, mask.predict)
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return dense_heads(self.heads, x, self.dtype)


def crate_mae(
    spec: Spec,
    *,
    variant: str = "12x768x12",
    patch: Size2D = (16, 16),
    step: Positive = 0.1,
    penalty: NonNegative = 0.5,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build CRATE's encoder, which sees hidden tokens as mask embeddings, and its mirror.

    The decoder has as many blocks as the encoder, of the same width.
    variant:  of the encoder and of the decoder: depth x width x heads, see `vit.variant`.
    step:     of ISTA in the encoder.
    penalty:  weight of the l1 norm in the encoder; the larger, the sparser the tokens.
    norm_eps: of the last norm of the encoder and of the decoder; inside blocks BLOCK_EPSILON.
    Other keywords are those of `masked_vit.vit_mae`.
    params: {'encoder': ..., 'decoder': ...}; `config.mesh.rules` for them is
    maskmim.models.crate.rules.
    Raises ModelError for sizes that do not divide, names that are unknown, and in `encode` for a
    mask that leaves tokens out.
    Source: CRATE-MAE (arXiv 2404.02446); MaskedAutoencoderViT of model/crate_ae/crate_ae.py.
    Difference: the official model also creates a layer `decoder_embed`, which it never uses.
    """
    grid = token_grid(spec.size, patch)
    common = vit.stack_fields(grid, norm_eps, compute())
    size = vit.variant(variant)
    encoder = CrateEncoder(
        size=size,
        class_token=True,
        registers=0,
        positions="sincos",
        mask_token=True,
        step=step,
        penalty=penalty,
        **common,
    )
    decoder = CrateDecoder(size=size, heads=head_widths(heads, patch, spec.channels), **common)
    net = vit_net(spec, patch=patch, encoder=encoder, decoder=decoder)
    return require_every_token(net, math.prod(grid))


def subspace_coordinates(params: Tree, encoded: Encoded) -> Array:
    """Return what enters every block in its subspaces: f32[depth, B, heads, n, D / heads].

    params:  of the network.
    encoded: with the captures 'embedded' and 'layers'.
    Source: the output of `qkv` in vis_utils/crate_hook.py.
    """
    entering = jnp.concatenate([encoded.embedded[None], encoded.layers[:-1]])
    blocks = params["encoder"]["blocks"]
    heads, size = blocks["attention"]["subspaces"]["kernel"].shape[-2:]

    def coordinates(block: Tree, x: Array) -> Array:
        y = Norm(BLOCK_EPSILON, jnp.float32).apply({"params": block["norm1"]}, x)
        layer = subspaces(heads, heads * size, jnp.float32)
        return layer.apply({"params": block["attention"]["subspaces"]}, y)

    return jnp.moveaxis(jax.vmap(coordinates)(blocks, entering), 2, 3)
