"""A Vision Transformer without a decoder, for objectives on pooled features."""

from __future__ import annotations

from collections.abc import Callable

from flax import linen as nn

from maskmim.config.ranges import FractionBelowOne, NonNegativeInt, Positive, Sizes
from maskmim.models import vit
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.posembed import Positions
from maskmim.models.net import picture_net, token_grid
from maskmim.types import Array, Encoded, Mask, Net, Spec


class NoHeads(nn.Module):
    """A predictor that predicts nothing and has no parameters."""

    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Return no heads."""
        return {}


def vit_encoder(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Sizes = (16, 16),
    class_token: bool = True,
    registers: NonNegativeInt = 0,
    positions: Positions = "sincos",
    mask_token: bool = False,
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    last_norm: bool = True,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a plain ViT over visible patches without a decoder or heads.

    last_norm: whether there is a norm behind the last block; MAE's fine-tuning has one of the
               pooled tokens in its place, see `classifiers.normed_linear`.
    Other keywords are those of `masked_vit.vit_mae`. Its objectives call functions of
    `config.calls`, as `objectives.label` does.
    params: {'encoder': ...}.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: ViT (arXiv 2010.11929).
    """
    encoder = vit.build_encoder(
        variant,
        vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute()),
        class_token=class_token,
        registers=registers,
        positions=positions,
        mask_token=mask_token,
        drop_path=drop_path,
        last_norm=last_norm,
    )
    return picture_net(
        spec,
        patch=patch,
        width=encoder.size.width,
        encoder=encoder,
        predictor=NoHeads(),
        says=(("encoder", vit.describe_blocks(encoder)),),
    )
