"""MixedAE: an encoder of mixtures, whose tokens attend to those that are most like them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.attention import top_k_attention
from maskmim.models.layers.blocks import Blocks
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import head_widths
from maskmim.models.layers.init import small_normal
from maskmim.models.mae_decoder import Decoder
from maskmim.models.net import token_grid, vit_net
from maskmim.models.vit import Encoder
from maskmim.types import Array, Encoded, Net, Randomness, Spec


class MixedEncoder(Encoder):
    """A ViT that encodes the visible tokens of `sources` consecutive examples as one sequence.

    Each token gets the embedding of its place in the group, a learnt vector; the class token is
    one for the group. A token attends to as many others as its example has, those of the highest
    scores in each head. Whole examples, without a mask, pass as in a plain ViT: alone, with full
    attention and without source embeddings.
    """

    sources: int = 4

    def _encode(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        if visible is None or self.is_initializing():
            return super()._encode(patches, visible, hidden, capture, randomness)
        _check_groups(visible, patches.shape[1], self.sources)
        if capture:
            raise ModelError(
                f"a mixture of {self.sources} examples captures no {', '.join(capture)}: capture "
                "it of whole examples, which are encoded without a mask"
            )
        prefix, tokens = self._embed(patches, visible, hidden)
        examples, count, width = tokens.shape
        mixed = tokens.reshape(examples // self.sources, self.sources * count, width)
        x = constraints.concat_tokens(prefix[:: self.sources], mixed)
        x, _ = self._mixed_blocks(count)(x)
        prefix, mixed = constraints.split_tokens(self._norm()(x), prefix.shape[1])
        own = mixed.reshape(examples, count, width)
        return Encoded(jnp.repeat(prefix, self.sources, axis=0), own)

    def _embed_tokens(self, patches: Array, visible: Array | None, hidden: Array | None) -> Array:
        tokens = super()._embed_tokens(patches, visible, hidden)
        if visible is None:
            return tokens
        shape = self.sources, 1, self.size.width
        sources = jnp.asarray(self.param("source_embedding", small_normal, shape), self.dtype)
        return tokens + sources[jnp.arange(len(tokens)) % self.sources]

    def _mixed_blocks(self, count: int) -> nn.Module:
        """Return the blocks of the plain ViT, with attention to `count` tokens."""
        size, attend = self.size, partial(top_k_attention, count=count)
        shape = size.depth, size.heads, size.hidden, self.epsilon, self.dtype
        return Blocks(*shape, attend, self.remat, self.unroll, name="stack")


def _check_groups(visible: Array, length: int, sources: int) -> None:
    """Raise ModelError where examples do not form whole groups on each device, or no partition."""
    examples, count = visible.shape
    if count * sources != length:
        raise ModelError(
            f"{sources} examples that show {count} tokens each do not make a mixture of {length}: "
            "use the sampler maskmim.masks.mixtures.partition with mask.sources equal to "
            "model.sources"
        )
    shares = constraints.batch_shares()
    if examples % (sources * shares):
        on_each = f" on each of {shares} devices" if shares > 1 else ""
        raise ModelError(
            f"{examples} examples do not divide into groups of {sources}{on_each}, which are "
            f"mixed: set train.batch_size / train.micro_batches to a multiple of "
            f"{sources * shares}, or use fewer devices"
        )


def vit_mixed_ae(
    spec: Spec,
    *,
    sources: PositiveInt = 4,
    variant: str = "B",
    patch: Size2D = (16, 16),
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT that encodes mixtures, with MAE's decoder of each example.

    sources: examples of a mixture, as of `masks.mixtures.partition`. Other keywords are those of
    `masked_vit.vit_mae`.
    `Net.encode` with a mask mixes consecutive examples; without one it encodes each alone. With
    micro-batches the groups consist of other examples, so that losses depend on their number; they
    do not depend on the mesh.
    params: {'encoder': ..., 'decoder': ...}. Raises ModelError as vit_mae does, and in `encode` for
    examples that do not divide into groups on each device, for a mask that is no partition, and for
    captures of a mixture.
    Source: MixedAE (arXiv 2303.17152), from its abstract and memory: the authors released no code.
    Ours: the class token counts as one of the tokens that attention chooses from; whole examples
    have full attention.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = MixedEncoder(
        size=vit.variant(variant),
        class_token=True,
        registers=0,
        positions="sincos",
        mask_token=False,
        sources=sources,
        **common,
    )
    decoder = Decoder(
        heads=head_widths(heads, patch, spec.channels),
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **common,
    )
    return vit_net(spec, patch=patch, encoder=encoder, decoder=decoder)
