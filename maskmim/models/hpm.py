"""HPM's masked autoencoder: a second decoder beside MAE's predicts the loss of each patch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.models import attention
from maskmim.models.attention import Attend
from maskmim.models.layers import Blocks, Dtype, Norm, xavier
from maskmim.models.mae_decoder import scatter
from maskmim.models.net import picture_net, token_grid
from maskmim.models.patches import gather
from maskmim.models.posembed import sincos
from maskmim.models.vit import Encoder, Size, checked, small_normal, variant
from maskmim.types import Array, Encoded, Mask, Net, Spec


class TwoDecoders(nn.Module):
    """MAE's decoder twice, over the same tokens: one for pixels, one for losses.

    The embedding, the mask token and the positions are shared; blocks, norms and heads are not.
    values: of a patch, the width of both heads; the loss is the mean over its head's values.
    Parameters of the pixel decoder are named as in MAE's.
    """

    grid: tuple[int, int]
    size: Size
    values: int
    epsilon: float
    dtype: Dtype
    attend: Attend
    remat: str
    unroll: int

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Encoded and its mask -> 'pixels' f32[B, P, values], 'loss' f32[B, P, 1]."""
        width = self.size.width
        embed = nn.Dense(width, kernel_init=xavier, dtype=self.dtype, name="embed")
        prefix, seen = embed(encoded.prefix), embed(encoded.tokens)
        filling = self.param("mask_token", small_normal, (1, 1, width)).astype(self.dtype)
        length = self.grid[0] * self.grid[1]
        tokens = jnp.broadcast_to(filling, (seen.shape[0], length, width))
        tokens = jax.vmap(scatter)(tokens, mask.visible, seen)
        tokens = tokens + jnp.asarray(sincos(width, self.grid), self.dtype)
        x = jnp.concatenate([prefix, tokens], axis=1)
        skip = prefix.shape[1]
        pixels = self._read(x, skip, mask, "", "head_pixels")
        losses = self._read(x, skip, mask, "loss_", "head_loss")
        return {"pixels": pixels, "loss": jnp.mean(losses, axis=-1, keepdims=True)}

    def _read(self, x: Array, skip: int, mask: Mask, prefix: str, head: str) -> Array:
        """One decoder: blocks, norm and head on the predicted tokens, f32[B, P, values]."""
        x, _ = Blocks(
            self.size.depth,
            self.size.heads,
            self.size.hidden,
            self.epsilon,
            self.dtype,
            self.attend,
            self.remat,
            self.unroll,
            name=f"{prefix}stack",
        )(x)
        x = Norm(self.epsilon, self.dtype, name=f"{prefix}norm")(gather(x[:, skip:], mask.predict))
        dense = nn.Dense(self.values, kernel_init=xavier, dtype=self.dtype, name=head)
        return dense(x).astype(jnp.float32)


def vit_hpm(
    spec: Spec,
    *,
    variant: str = "B",
    patch: tuple[int, int] = (16, 16),
    decoder_depth: int = 8,
    decoder_width: int = 512,
    decoder_heads: int = 16,
    norm_eps: float = 1e-6,
    remat: str = "none",
    unroll: bool = False,
    dtype: str = "float32",
) -> Net:
    """MAE's encoder with two decoders; heads 'pixels' (values of a patch) and 'loss' (one value).

    Keywords are those of `masked_vit.vit_mae`; both decoders have the same size.
    params: {'encoder': ..., 'decoder': ...}. Raises ModelError as vit_mae does.
    Source: HPM (arXiv 2304.05919), models_mae_learn_loss.py of Haochen-Wang409/HPM.
    """
    grid = token_grid(spec.size, patch)
    common = {
        "grid": grid,
        "epsilon": norm_eps,
        "dtype": jnp.dtype(dtype),
        "attend": attention.plain if unroll else attention.fastest(),
        "remat": remat,
    }
    encoder = _encoder(variant, unroll, common)
    decoders = TwoDecoders(
        size=checked(Size(decoder_depth, decoder_width, decoder_heads, 4 * decoder_width)),
        values=patch[0] * patch[1] * spec.channels,
        unroll=decoder_depth if unroll else 1,
        **common,
    )
    size = encoder.size
    told = f"{size.depth} blocks, width {size.width}, {size.heads} heads, {dtype}, class token"
    twice = f"{decoder_depth} blocks, width {decoder_width}, {decoder_heads} heads, {dtype}"
    return picture_net(
        spec,
        patch=patch,
        grid=grid,
        width=size.width,
        encoder=encoder,
        predictor=decoders,
        says=(
            ("encoder", told),
            ("decoder", f"{twice}, head: pixels"),
            ("loss predictor", f"{twice}, head: loss, one value"),
        ),
    )


def _encoder(name: str, unroll: bool, common: dict) -> Encoder:
    size = variant(name)
    return Encoder(
        size=size,
        class_token=True,
        registers=0,
        positions="sincos",
        mask_token=False,
        unroll=size.depth if unroll else 1,
        **common,
    )
