"""ReMasker: a masked autoencoder of the cells of a table, which missing cells never enter."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import FractionBelowOne, Positive
from maskmim.masks.core import nothing_hidden
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Norm
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import dense_heads
from maskmim.models.layers.posembed import fixed_positions
from maskmim.models.mae_decoder import fill_grid
from maskmim.models.net import picture_net, token_grid
from maskmim.models.present_vit import PresentEncoder, marked_net
from maskmim.models.vit import Stack, make_blocks
from maskmim.types import Array, Batch, Encoded, Mask, Net, Spec, Tree


class CellDecoder(Stack):
    """A transformer over all columns, whose one head predicts every cell in (0, 1).

    Hidden and missing cells are mask tokens; the class token passes through the blocks.
    Source: forward_decoder of model_mae.py, tydusky/remasker.
    """

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict 'cells' f32[B, P, 1] at the predicted tokens, 'shown' f32[B, K, 1] at visible."""
        prefix, tokens = fill_grid(self, encoded, mask, encoded.given["absent"])
        table = fixed_positions("sincos", self.size.width, self.grid)
        x = constraints.concat_tokens(prefix, tokens + jnp.asarray(table, self.dtype)[None])
        x, _ = make_blocks(self)(x)
        _, x = constraints.split_tokens(x, prefix.shape[1])
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        values = dense_heads({"cells": 1}, x, self.dtype)["cells"]
        cells = jnp.tanh(values) / 2.0 + 0.5
        return {
            "cells": constraints.select_tokens(cells, mask.predict),
            "shown": constraints.select_tokens(cells, mask.visible),
        }


def remasker(
    spec: Spec,
    *,
    variant: str = "6x32x4",
    decoder: str = "4x32x4",
    missing: str = "missing",
    norm_eps: Positive = 1e-8,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build the network of a table with a token for each column.

    variant, decoder: sizes, see `vit.variant`; the official ones have equal widths.
    missing: name of the field bool[B, N] that marks missing cells.
    drop_path, compute: as of `masked_vit.vit_mae`.

    `Net.inputs` gives `Marked`. A missing cell is hidden whatever the mask says: where a mask lists
    it as visible, no token attends to it and the decoder has a mask token in its place, so that
    what stands in its stead reaches no feature and no prediction. Without a mask all observed
    cells enter. `Net.calls["impute"]`, (params, batch) -> f32[B, N], returns rows whose missing
    cells are predicted from all observed ones; its values are in the units of the inputs, which
    must lie in [0, 1].
    params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for inputs of several axes or channels, and for unknown sizes.
    Source: ReMasker (arXiv 2309.13793), MaskedAutoencoder of model_mae.py and ReMasker.transform of
    remasker_impute.py, tydusky/remasker, which imputes rows one by one to the same numbers.
    Differences: a row with fewer observed cells than the mask shows is shown those alone, where the
    official code shows zeros and learns to predict them; the embedding's bias starts at 0, there
    between -1 and 1; the encoding 'active', which no published setting has, is left out.
    """
    if len(spec.size) != 1 or spec.channels != 1:
        raise ModelError(
            f"a row of a table has one value for each column, but input.size is {spec.size} with "
            f"{spec.channels} channels: set input.size to the number of columns and one channel"
        )
    common = vit.stack_fields(token_grid(spec.size, (1,)), norm_eps, compute())
    encoder = PresentEncoder(
        size=vit.variant(variant),
        class_token=True,
        registers=0,
        positions="sincos",
        mask_token=False,
        drop_path=drop_path,
        **common,
    )
    predictor = CellDecoder(size=vit.variant(decoder), **common)
    net = picture_net(
        spec,
        patch=(1,),
        width=encoder.size.width,
        encoder=encoder,
        predictor=predictor,
        says=(
            ("encoder", f"{vit.describe_blocks(encoder)}, missing cells absent"),
            ("decoder", f"{vit.describe_blocks(predictor)}, a value in (0, 1) for each column"),
        ),
    )
    return _imputing(marked_net(net, missing))


def _imputing(net: Net) -> Net:
    """Return a network whose call 'impute' fills the missing cells of a batch in."""

    def impute(params: Tree, batch: Batch) -> Array:
        cells = net.inputs(batch)
        every = nothing_hidden(*cells.absent.shape)
        predicted = net.predict(params, net.encode(params, cells, every), every)["cells"]
        return jnp.where(cells.absent, predicted[..., 0], cells.values[..., 0])

    return net._replace(calls={"impute": impute})
