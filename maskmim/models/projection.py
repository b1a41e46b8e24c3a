"""A ViT that sees every token, with the projection head of DINO and iBOT."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import FractionBelowOne, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.in_place import torch_uniform
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.init import draw_normal, with_init
from maskmim.models.layers.patches import gather
from maskmim.models.net import picture_net, token_grid
from maskmim.types import Array, Encoded, Mask, Net, Spec

# As in the official code, convolutions and the last layer keep torch's own initialisation.
INIT_RULES = (
    (r"(embed|last)/kernel$", lambda key, old: torch_uniform(key, old.shape, old.dtype)),
    (r"kernel$", draw_normal),
    (r"mask_token$", lambda key, old: jnp.zeros_like(old)),
)


class WeightNormed(nn.Module):
    """A linear layer without bias whose weights are directions times learned lengths.

    Source: weight_norm of torch (arXiv 1602.07868), one length for each output, initially 1.
    """

    values: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., D] -> f32[..., values]; the product is accumulated in float32."""
        kernel = self.param("kernel", torch_uniform, (x.shape[-1], self.values))
        scale = self.param("scale", nn.initializers.ones, (self.values,))
        kernel = kernel * (scale / jnp.linalg.norm(kernel, axis=0))[None]
        kernel = kernel.astype(self.dtype)
        logits = jnp.matmul(x.astype(self.dtype), kernel, preferred_element_type=jnp.float32)
        return constraints.constrain_outputs(logits)


class ProjectionHead(nn.Module):
    """An MLP of three layers, a vector of length 1, and logits; shared by all tokens.

    Source: DINOHead and iBOTHead (shared_head) of models/head.py, bytedance/ibot.
    """

    values: int
    hidden: int
    bottleneck: int
    dtype: Dtype

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {'class': f32[B, 1, values], 'tokens': f32[B, P, values]} from all N tokens.

        'tokens' are those that the mask predicts.
        """
        tokens = gather(encoded.tokens, mask.predict)
        x = constraints.constrain_tokens(constraints.concat_tokens(encoded.prefix[:, :1], tokens))
        for name in ("first", "second"):
            x = nn.gelu(Dense(self.hidden, dtype=self.dtype, name=name)(x), approximate=False)
        x = Dense(self.bottleneck, dtype=self.dtype, name="down")(x).astype(jnp.float32)
        x = x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
        logits = WeightNormed(self.values, self.dtype, name="last")(x)
        return {"class": logits[:, :1], "tokens": logits[:, 1:]}


def vit_projected(
    spec: Spec,
    *,
    variant: str = "S",
    patch: Size2D = (16, 16),
    prototypes: PositiveInt = 8192,
    hidden: PositiveInt = 2048,
    bottleneck: PositiveInt = 256,
    mask_token: bool = True,
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.1,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT with learned positions that sees every token, and one head for class and patches.

    prototypes:         logits of a token, K.
    hidden, bottleneck: widths within the head.
    mask_token:         whether hidden tokens enter as mask embeddings; DINO hides none.
    Other keywords are those of `masked_vit.vit_mae`. Heads are 'class', f32[B, 1, K], for every
    mask, and 'tokens', f32[B, P, K].
    Raises ModelError as `masked_vit.vit_mae` does.
    Source: models/vision_transformer.py and models/head.py, gkakogeorgiou/attmask, from iBOT (arXiv
    2111.07832); --shared_head True, --norm_last_layer False.
    Differences: the class token has no position, as the token itself can learn it; the patch
    embedding's biases start at 0, officially as its kernel.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = vit.build_encoder(
        variant, common, positions="learned", mask_token=mask_token, drop_path=drop_path
    )
    words = f"{hidden}, {hidden}, {bottleneck}, {prototypes} values, for class and patches"
    net = picture_net(
        spec,
        patch=patch,
        width=encoder.size.width,
        encoder=encoder,
        predictor=ProjectionHead(prototypes, hidden, bottleneck, encoder.dtype),
        says=(("encoder", vit.describe_blocks(encoder)), ("head", words)),
    )
    return with_init(net, INIT_RULES)
