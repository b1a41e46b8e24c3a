"""HPM's masked autoencoder: MAE's with a second decoder that predicts the loss of each patch."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.posembed import sincos
from maskmim.models.mae_decoder import decode_predicted, fill_grid
from maskmim.models.net import picture_net, token_grid
from maskmim.models.vit import Stack
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec, Tree

HEADS = "pixels", "loss"


class TwoDecoders(Stack):
    """Two of MAE's decoders over the same tokens: one for pixels, one for losses.

    The embedding, the mask token and the positions are shared; blocks, norms and heads are not.
    values: values of a patch, the width of both heads; the loss is the mean over its head's values.
    Parameters of the pixel decoder have the names of MAE's decoder.
    """

    values: int

    @nn.compact
    def __call__(
        self, encoded: Encoded, mask: Mask, heads: tuple[str, ...] = HEADS
    ) -> dict[str, Array]:
        """Predict 'pixels' f32[B, P, values] and 'loss' f32[B, P, 1], or one of them."""
        prefix, tokens = fill_grid(self, encoded, mask)
        table = jnp.asarray(sincos(self.size.width, self.grid), self.dtype)
        x, count = constraints.concat_tokens(prefix, tokens + table[None]), prefix.shape[1]
        outputs = {}
        if "pixels" in heads:
            outputs["pixels"] = self._decode(x, count, mask, "", "head_pixels")
        if "loss" in heads:
            losses = self._decode(x, count, mask, "loss_", "head_loss")
            outputs["loss"] = jnp.mean(losses, axis=-1, keepdims=True)
        return outputs

    def _decode(self, x: Array, prefix: int, mask: Mask, name: str, head: str) -> Array:
        """Run one decoder: blocks, norm and head on the predicted tokens, f32[B, P, values]."""
        x = decode_predicted(self, x, prefix, mask, name)
        dense = Dense(self.values, kernel_init=xavier, dtype=self.dtype, name=head)
        return constraints.constrain_outputs(dense(x)).astype(jnp.float32)


def vit_hpm(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build MAE's encoder with two decoders, for pixels and for losses.

    The head is 'pixels' (the values of a patch); the function 'loss' of `Net.calls` predicts the
    loss of each token: (params, Encoded, mask) -> f32[B, P, 1].
    Keywords are those of `masked_vit.vit_mae`; both decoders have the same size.
    params: {'encoder': ..., 'decoder': ...}. Raises ModelError as vit_mae does.
    Source: HPM (arXiv 2304.05919), models_mae_learn_loss.py of Haochen-Wang409/HPM.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = vit.build_encoder(variant, common)
    decoders = TwoDecoders(
        values=math.prod(patch) * spec.channels,
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **common,
    )
    blocks = vit.describe_blocks(decoders)

    def decode(head: str, params: Tree, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        mask = jax.tree.map(constraints.constrain_examples, mask)
        return decoders.apply({"params": params["decoder"]}, encoded, mask, (head,))

    def predict(
        params: Tree, encoded: Encoded, mask: Mask, *, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        return decode("pixels", params, encoded, mask)

    def predict_loss(params: Tree, encoded: Encoded, mask: Mask) -> Array:
        return decode("loss", params, encoded, mask)["loss"]

    net = picture_net(
        spec,
        patch=patch,
        width=encoder.size.width,
        encoder=encoder,
        predictor=decoders,
        says=(
            ("encoder", vit.describe_blocks(encoder)),
            ("decoder", f"{blocks}, head: pixels"),
            ("loss predictor", f"{blocks}, one value"),
        ),
    )
    return net._replace(predict=predict, calls={"loss": predict_loss})
