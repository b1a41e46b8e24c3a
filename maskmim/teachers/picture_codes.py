"""Pictures as codes and back, by an autoencoder with a codebook, frozen: what masked tokens are of.

An autoencoder is a `Net` whose `encode` gives a vector for each token, whose `predict` gives the
'pixels' of such vectors, and whose params hold codebook/vectors f32[codes, width]; see
`models.vq_autoencoder`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.checkpoints.load_run import Trained, trained
from maskmim.errors import UserError
from maskmim.masks.core import whole
from maskmim.quantize.vector_quantize import nearest
from maskmim.types import Array, Encoded, Net, Spec, Tree

PARTS = ("encoder", "decoder", "codebook")


class CodesError(UserError, ValueError):
    """A run that turns no pictures into codes and back, or other pictures."""


class PictureCodes(NamedTuple):
    """A frozen tokenizer of pictures.

    net:    the autoencoder, for grids and pictures. codes: how many there are.
    freeze: () -> frozen, its params.
    """

    net: Net
    codes: int
    freeze: Callable[[], Tree]


def vectors_of(net: Net, params: Tree, inputs: Array) -> Array:
    """What the encoder makes of the tokens of pictures f32[B, H, W, C]: f32[B, N, D]."""
    return net.encode(params, inputs, None).tokens.astype(jnp.float32)


def codes_of(net: Net, params: Tree, inputs: Array) -> Array:
    """The codes of pictures f32[B, H, W, C]: i32[B, N]."""
    return nearest(vectors_of(net, params, inputs), params["codebook"]["vectors"])


def picture_of(net: Net, params: Tree, vectors: Array) -> Array:
    """The picture f32[B, H, W, C] of the tokens' vectors f32[B, N, D]."""
    encoded = Encoded(vectors[:, :0], vectors)
    return net.restore(net.predict(params, encoded, whole(*vectors.shape[:2]))["pixels"])


def drawn(net: Net, params: Tree, codes: Array) -> Array:
    """The picture f32[B, H, W, C] of codes i32[B, N]."""
    return picture_of(net, params, jnp.asarray(params["codebook"]["vectors"])[codes])


def fresh(spec: Spec, *, model: Callable[[Spec], Net], seed: int = 0) -> PictureCodes:
    """A tokenizer that has learnt nothing, for tests and plans.

    model: brick of the autoencoder. seed: of its params.
    """
    net = model(spec)
    shapes = jax.eval_shape(net.init, jax.random.key(seed))
    size = shapes["codebook"]["vectors"].shape[0]
    return PictureCodes(net, size, lambda: jax.jit(net.init)(jax.random.key(seed)))


def of_run(spec: Spec, *, workdir: str) -> PictureCodes:
    """A tokenizer that was trained here, from the newest checkpoint of its run.

    Raises CodesError for a run whose params are no such autoencoder's, and for one on pictures of
    another size or with another normalisation.
    """

    @cache
    def run() -> Trained:
        return trained(workdir)

    found = run()
    missing = sorted(set(PARTS) - set(found.variables.params))
    if missing:
        raise CodesError(
            f"the run {workdir} turns no pictures into codes and back: its params have no "
            f"{', '.join(missing)}; name the run of a tokenizer such as "
            "configs/vqgan.py"
        )
    if found.spec != spec:
        raise CodesError(
            f"the tokenizer {workdir} was trained on {found.spec}, this config's input is {spec}: "
            "give both the same input section"
        )
    params = {name: found.variables.params[name] for name in PARTS}
    size = len(params["codebook"]["vectors"])
    return PictureCodes(found.method.net, size, lambda: params)
