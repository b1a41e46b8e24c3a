"""Any encoder of pictures with a head that answers at every pixel, as one network to train."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config.ranges import PositiveInt
from maskmim.config.returned import returned
from maskmim.models.dense_heads import Shapes, linear, resized
from maskmim.models.feature_maps import Layers, captured_by, maps_of, shapes_of
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.patches import patchify
from maskmim.types import (
    Array,
    Encoded,
    LearnedFunction,
    Mask,
    Net,
    Randomness,
    Spec,
    Tree,
    random_key,
)


def dense_net(
    spec: Spec,
    *,
    encoder: Callable[[Spec], Net],
    outputs: PositiveInt,
    head: Callable[[Shapes, int], LearnedFunction] = linear,
    layers: Layers = (),
    name: str = "classes",
) -> Net:
    """Build the encoder of another network with a dense head in place of its predictor.

    encoder: model brick on pictures, of which the encoder alone is taken.
    outputs: of each pixel, such as the number of classes. head: brick, see `models.dense_heads`.
    layers:  blocks or stages that the head reads, as shares, see `feature_maps.maps_of`.
    name:    of the head in `View.outputs`: f32[B, P, V * outputs], in the order pixel, output.
    params: {'encoder': ..., 'dense': ...}; `dense_heads.rules` are their sharding rules.
    `predict` raises ModelError for a mask that hides something: the sampler is
    `masks.roles.everything`. Raises ModelError for other inputs than pictures, and where the
    encoder's output is no map of them.
    """
    net = returned(encoder(spec), Net, "model.encoder.brick", encoder)
    grid = tuple(net.grids.get(spec.stream, ()))
    if len(net.grids) != 1 or len(grid) != 2:
        raise ModelError(
            f"a dense head needs one stream of pictures, and model.encoder has "
            f"{', '.join(net.grids)}: use a model of images"
        )
    side = tuple(length // cells for length, cells in zip(spec.size, grid, strict=True))
    encode, shapes = _with_captures(net, spec, grid, layers)
    made = head(shapes, outputs)

    def init(key: Array) -> Tree:
        first, second = jax.random.split(key)
        return {"encoder": net.init(first)["encoder"], "dense": made.init(second)}

    def predict(
        params: Tree, encoded: Encoded, mask: Mask, *, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        if mask.predict.shape[1] != math.prod(grid):
            raise ModelError(
                f"a dense head answers on all {math.prod(grid)} tokens, and the mask predicts "
                f"{mask.predict.shape[1]}: use the sampler maskmim.masks.roles.everything"
            )
        values = made.call(params["dense"], maps_of(encoded, grid, layers=layers))
        return {name: patchify(resized(values.astype(jnp.float32), spec.size), side)}

    says = tuple(line for line in net.says if line[0] == "encoder")
    return net._replace(
        init=init, encode=encode, predict=predict, says=(*says, ("head", made.says)), calls={}
    )


def _with_captures(
    net: Net, spec: Spec, grid: tuple[int, int], layers: tuple[float, ...]
) -> tuple[Callable[..., Encoded], Shapes]:
    """Return `Net.encode` that captures what the head reads, and the shapes of its maps."""
    blank = {spec.stream: jax.ShapeDtypeStruct((1, *spec.shape), np.dtype(spec.dtype))}
    params = jax.eval_shape(net.init, random_key(0))

    def encode_all(params: Tree, batch: Any, **options: Any) -> Encoded:
        return net.encode(params, net.inputs(batch), None, **options)

    captures = captured_by(encode_all, params, blank, layers=layers)

    def encode(
        params: Tree,
        inputs: Array,
        mask: Mask | None,
        *,
        capture: tuple[str, ...] = (),
        randomness: Randomness | None = None,
    ) -> Encoded:
        every = tuple(dict.fromkeys((*captures, *capture)))
        return net.encode(params, inputs, mask, capture=every, randomness=randomness)

    def maps(params: Tree, batch: Any) -> tuple[Array, ...]:
        return maps_of(encode(params, net.inputs(batch), None), grid, layers=layers)

    return encode, shapes_of(jax.eval_shape(maps, params, blank))
