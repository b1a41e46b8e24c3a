"""Pixio's masked autoencoder: a deep decoder with learned positions, several class tokens."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.models import attention
from maskmim.models.attention import Attend
from maskmim.models.layers import Blocks, Dtype, Norm, xavier
from maskmim.models.mae_decoder import scatter
from maskmim.models.net import picture_net, token_grid
from maskmim.models.patches import gather
from maskmim.models.vit import Encoder, Size, checked, small_normal, variant
from maskmim.types import Array, Encoded, Mask, Net, Spec

truncated_normal = nn.initializers.truncated_normal(0.02)


class PixioDecoder(nn.Module):
    """MAE's decoder with learned positions for every token, class tokens included.

    heads: {name: values}; a head is a dense layer on the predicted tokens alone.
    """

    grid: tuple[int, int]
    size: Size
    heads: Mapping[str, int]
    epsilon: float
    dtype: Dtype
    attend: Attend
    remat: str
    unroll: int

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Encoded and its mask -> {head: f32[B, P, values]}."""
        width, length = self.size.width, self.grid[0] * self.grid[1]
        embed = nn.Dense(width, kernel_init=xavier, dtype=self.dtype, name="embed")
        prefix, seen = embed(encoded.prefix), embed(encoded.tokens)
        count = prefix.shape[1]
        filling = self.param("mask_token", small_normal, (1, 1, width)).astype(self.dtype)
        tokens = jnp.broadcast_to(filling, (seen.shape[0], length, width))
        tokens = jax.vmap(scatter)(tokens, mask.visible, seen)
        x = jnp.concatenate([prefix, tokens], axis=1)
        x = x + self.param("positions", truncated_normal, (count + length, width)).astype(x.dtype)
        x, _ = Blocks(
            self.size.depth,
            self.size.heads,
            self.size.hidden,
            self.epsilon,
            self.dtype,
            self.attend,
            self.remat,
            self.unroll,
            name="stack",
        )(x)
        x = Norm(self.epsilon, self.dtype, name="norm")(gather(x[:, count:], mask.predict))
        dense = {
            name: nn.Dense(values, kernel_init=xavier, dtype=self.dtype, name=f"head_{name}")
            for name, values in self.heads.items()
        }
        return {name: layer(x).astype(jnp.float32) for name, layer in dense.items()}


def vit_pixio(
    spec: Spec,
    *,
    variant: str = "H",
    patch: tuple[int, int] = (16, 16),
    class_tokens: int = 8,
    decoder_depth: int = 32,
    decoder_width: int = 512,
    decoder_heads: int = 16,
    heads: Mapping[str, int | None] = {"pixels": None},
    norm_eps: float = 1e-6,
    drop_path: float = 0.4,
    remat: str = "none",
    unroll: bool = False,
    dtype: str = "float32",
) -> Net:
    """A ViT encoder over visible patches with Pixio's deep decoder.

    class_tokens: prefix tokens of the encoder, kept through the decoder. Other keywords are those
    of `masked_vit.vit_mae`; encoder and decoder positions are learned.
    params: {'encoder': ..., 'decoder': ...}. Raises ModelError as vit_mae does.
    Source: Pixio (arXiv 2512.15715), pretraining/models_pixio.py of facebookresearch/pixio.
    Differences: class tokens have no positions in the encoder, where their sum with a learned
    token is one learned token; positions start from N(0, 0.02), cut off at two deviations there.
    """
    grid = token_grid(spec.size, patch)
    common = {
        "grid": grid,
        "epsilon": norm_eps,
        "dtype": jnp.dtype(dtype),
        "attend": attention.plain if unroll else attention.fastest(),
        "remat": remat,
    }
    encoder = _encoder(variant, class_tokens, drop_path, unroll, common)
    values = patch[0] * patch[1] * spec.channels
    decoder = PixioDecoder(
        size=checked(Size(decoder_depth, decoder_width, decoder_heads, 4 * decoder_width)),
        heads={name: values if count is None else count for name, count in heads.items()},
        unroll=decoder_depth if unroll else 1,
        **common,
    )
    size = encoder.size
    told = f"{size.depth} blocks, width {size.width}, {class_tokens} class tokens, {dtype}"
    deep = f"{decoder_depth} blocks, width {decoder_width}, {decoder_heads} heads, {dtype}"
    return picture_net(
        spec,
        patch=patch,
        grid=grid,
        width=size.width,
        encoder=encoder,
        predictor=decoder,
        says=(("encoder", told), ("decoder", deep)),
    )


def _encoder(name: str, tokens: int, drop_path: float, unroll: bool, common: dict) -> Encoder:
    size = variant(name)
    return Encoder(
        size=size,
        class_token=tokens > 0,
        registers=max(tokens - 1, 0),
        positions="learned",
        mask_token=False,
        drop_path=drop_path,
        unroll=size.depth if unroll else 1,
        **common,
    )
