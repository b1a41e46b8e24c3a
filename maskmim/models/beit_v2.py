"""BEiT v2's ViT, which predicts codes twice: the second time through the class token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.config.ranges import FractionBelowOne, Positive, PositiveInt, Size2D
from maskmim.errors import count_of
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Norm, scan_blocks
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.init import Draw, draw_narrow_normal, with_init
from maskmim.models.layers.relative_position import bias_table_index, gather_biases
from maskmim.models.net import token_grid
from maskmim.models.relative_vit import RelativeBlock, relative_vit_in_place
from maskmim.models.vit import Size
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec, Tree


class Aggregation(nn.Module):
    """A few blocks over the last class token and the patch tokens of an earlier block.

    size:     of the blocks.
    settings: epsilon, dtype and layer_scale of `RelativeBlock`.
    """

    size: Size
    settings: dict[str, Any]
    remat: str

    @nn.compact
    def __call__(self, x: Array, bias: Array, keep: Array | None) -> Array:
        """Map [B, n, D] -> [B, n, D]; bias: f32[heads, n, n]; keep: f32[depth, B, 2] or None."""
        loop = {"depth": self.size.depth, "remat": self.remat, "unroll": True}
        make = scan_blocks(RelativeBlock, in_axes=(nn.broadcast, 0), **loop)
        shape = {"heads": self.size.heads, "hidden": self.size.hidden, "capture": ()}
        return make(**shape, **self.settings, name="blocks")(x, bias, keep)[0]


def beit_v2(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    codes: PositiveInt = 8192,
    layer: PositiveInt = 9,
    aggregating: PositiveInt = 2,
    layer_scale: Positive = 0.1,
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.1,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build BEiT's ViT with one linear head that predicts codes from two sets of tokens.

    codes:       size of the codebook, the width of the head.
    layer:       block, counted from 1, whose patch tokens are aggregated: 9 of 12, 21 of 24.
    aggregating: number of further blocks over these and the class token of the last block.
    Other keywords are those of `relative_vit.relative_vit_in_place`.

    Heads: 'codes' f32[B, P, codes], from the encoder's output, and 'aggregated', from the
    aggregating blocks. The class token must supply what the tokens of an early block lack, so that
    it learns to represent the whole picture. The last norm, the position bias and the head are the
    same for both. params: {'encoder': ..., 'decoder': {'head_codes': ..., 'blocks': ...}}.
    Raises ModelError as relative_vit_in_place does, and for a layer that does not exist.
    Source: BEiT v2 (arXiv 2208.06366), VisionTransformerForMaskedImageModelingCLS of
    modeling_pretrain.py, microsoft/unilm, folder beit2. As in the official code, kernels are drawn
    from N(0, 0.02) truncated at one standard deviation; those of the aggregating blocks as torch
    initialises linear layers, because it makes these blocks after its own initialisation has run.
    Differences: keys have a bias too, which cancels in the softmax; biases of the aggregating
    blocks and of the patch embedding start at 0.
    """
    size = vit.variant(variant)
    if not 1 <= layer <= size.depth:
        raise ModelError(f"no block {layer} to aggregate: the encoder has {size.depth}, from 1")
    base = relative_vit_in_place(
        spec,
        variant=variant,
        patch=patch,
        heads={"codes": codes},
        norm_eps=norm_eps,
        drop_path=drop_path,
        layer_scale=layer_scale,
        compute=compute,
    )
    dtype, remat, _ = compute()
    settings = {"epsilon": norm_eps, "dtype": dtype, "layer_scale": layer_scale}
    blocks = Aggregation(size._replace(depth=aggregating), settings, remat)
    index = bias_table_index(token_grid(spec.size, patch), class_token=True)
    rates = {"depth": max(size.depth, layer + aggregating), "rate": drop_path}
    net = _predict_twice(_capture_layers(base), blocks, index, layer, rates)
    over = f"block {layer} and the last class token, the same head"
    words = f"{count_of(aggregating, 'block')} over {over}"
    says = (*net.says, ("aggregation", words))
    return with_init(net._replace(says=says), _init_rules(size, layer))


def _capture_layers(net: Net) -> Net:
    """Return the network with an encoder that always captures its layers."""

    def encode(
        params: Tree,
        inputs: Array,
        mask: Mask | None,
        *,
        capture: tuple[str, ...] = (),
        **options: Any,
    ) -> Encoded:
        capture = tuple(dict.fromkeys((*capture, "layers")))
        return net.encode(params, inputs, mask, capture=capture, **options)

    return net._replace(encode=encode)


def _predict_twice(
    base: Net, blocks: Aggregation, index: np.ndarray, layer: int, rates: dict[str, Any]
) -> Net:
    """Return the network that predicts from its encoder's output and from the aggregating blocks.

    rates: depth and rate of dropped paths of an encoder that ends with the aggregating blocks.
    """

    def init(key: Array) -> Tree:
        params = base.init(key)
        length = len(index)
        x = jnp.zeros((1, length, base.width))
        bias = jnp.zeros((blocks.size.heads, length, length))
        block_params = blocks.init(jax.random.fold_in(key, 1), x, bias, None)["params"]
        return {**params, "decoder": {**params["decoder"], **block_params}}

    def aggregate(params: Tree, encoded: Encoded, randomness: Randomness | None) -> Encoded:
        encoder = params["encoder"]
        last, early = (encoded.layers[place] for place in (-1, layer - 1))
        parts = constraints.split_tokens(last, 1)[0], constraints.split_tokens(early, 1)[1]
        bias = gather_biases(encoder["relative_bias"], index)
        inner = {"params": {"blocks": params["decoder"]["blocks"]}}
        apart = None if randomness is None else randomness.inside("aggregation")
        keep = drop_path_factors(apart, **rates)
        keep = None if keep is None else keep[layer : layer + blocks.size.depth]
        x = blocks.apply(inner, constraints.concat_tokens(*parts), bias, keep)
        norm = Norm(blocks.settings["epsilon"], blocks.settings["dtype"])
        return Encoded(*constraints.split_tokens(norm.apply({"params": encoder["norm"]}, x), 1))

    def predict(
        params: Tree, encoded: Encoded, mask: Mask, *, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        head = {**params, "decoder": {"head_codes": params["decoder"]["head_codes"]}}
        aggregated = aggregate(params, encoded, randomness)
        return {
            "codes": base.predict(head, encoded, mask)["codes"],
            "aggregated": base.predict(head, aggregated, mask)["codes"],
        }

    return base._replace(init=init, predict=predict)


def _init_rules(size: Size, layer: int) -> tuple[tuple[str, Draw], ...]:
    """Return rules for `with_init`; the aggregating blocks count on from the encoder's `layer`."""
    last = r"(attention/out|mlp/down)/kernel$"
    after_width = _scale_by_depth(_torch_uniform(size.width), layer + 1)
    after_hidden = _scale_by_depth(_torch_uniform(size.hidden), layer + 1)
    return (
        (rf"encoder/blocks/.*{last}", _scale_by_depth(draw_narrow_normal, 1)),
        (r"encoder/.*(kernel|class_token|mask_token)$", draw_narrow_normal),
        (r"head_codes/kernel$", draw_narrow_normal),
        (r"decoder/blocks/.*attention/out/kernel$", after_width),
        (r"decoder/blocks/.*mlp/down/kernel$", after_hidden),
        (r"decoder/blocks/.*kernel$", _torch_uniform(size.width)),
    )


def _torch_uniform(inputs: int) -> Draw:
    """Return a draw from U(-1, 1) / sqrt(inputs), which torch gives linear layers."""

    def draw(key: Array, old: Array) -> Array:
        return jax.random.uniform(key, old.shape, old.dtype, -1.0, 1.0) * inputs**-0.5

    return draw


def _scale_by_depth(draw: Draw, first: int) -> Draw:
    """Return the draw divided by sqrt(2 l) in block l = first, first + 1, ...; axis 0 is blocks."""

    def draw_scaled(key: Array, old: Array) -> Array:
        block = jnp.arange(first, first + len(old), dtype=old.dtype)
        return draw(key, old) / jnp.sqrt(2 * block).reshape(-1, *(1,) * (old.ndim - 1))

    return draw_scaled
