"""Pictures as codes and back, by a frozen autoencoder with a codebook: the data of masked tokens.

The autoencoder is a `Net` whose `encode` gives a vector for each token, whose `predict` gives the
'pixels' of such vectors, and whose params hold codebook/vectors f32[codes, width]; see
`models.vq_autoencoder`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.checkpoints.load_run import load_trained
from maskmim.config.ranges import Seed
from maskmim.errors import UserError
from maskmim.masks.core import nothing_hidden
from maskmim.quantize.vector_quantize import nearest
from maskmim.types import Array, Encoded, Net, Spec, Tree, random_key

PARTS = ("encoder", "decoder", "codebook")


class CodesError(UserError, ValueError):
    """A run that is not an autoencoder of pictures, or one of other pictures."""


class PictureCodes(NamedTuple):
    """A frozen tokenizer of pictures.

    net:    the autoencoder, for grids and pictures.
    codes:  their number, the size of the codebook.
    freeze: () -> frozen, its params.
    """

    net: Net
    codes: int
    freeze: Callable[[], Tree]


def vectors_of(net: Net, params: Tree, inputs: Array) -> Array:
    """Return the encoder's vectors for the tokens of pictures: f32[B, H, W, C] -> f32[B, N, D]."""
    return net.encode(params, inputs, None).tokens.astype(jnp.float32)


def codes_of(net: Net, params: Tree, inputs: Array) -> Array:
    """Return the codes of pictures: f32[B, H, W, C] -> i32[B, N]."""
    return nearest(vectors_of(net, params, inputs), params["codebook"]["vectors"])


def picture_of_vectors(net: Net, params: Tree, vectors: Array) -> Array:
    """Return the pictures of tokens' vectors: f32[B, N, D] -> f32[B, H, W, C]."""
    encoded = Encoded(vectors[:, :0], vectors)
    return net.restore(net.predict(params, encoded, nothing_hidden(*vectors.shape[:2]))["pixels"])


def picture_of_codes(net: Net, params: Tree, codes: Array) -> Array:
    """Return the pictures of codes: i32[B, N] -> f32[B, H, W, C]."""
    return picture_of_vectors(net, params, jnp.asarray(params["codebook"]["vectors"])[codes])


def fresh(spec: Spec, *, model: Callable[[Spec], Net], seed: Seed = 0) -> PictureCodes:
    """Return an untrained tokenizer, for tests and plans.

    model: brick of the autoencoder. seed: of its params.
    """
    net = model(spec)
    shapes = jax.eval_shape(net.init, random_key(seed))
    size = shapes["codebook"]["vectors"].shape[0]
    return PictureCodes(net, size, lambda: jax.jit(net.init)(random_key(seed)))


def _pictures_of(spec: Spec) -> Spec:
    """Return a spec without what is no picture: labels and fields."""
    return spec._replace(labels={}, fields={})


def of_run(spec: Spec, *, workdir: str) -> PictureCodes:
    """Return a tokenizer trained with maskmim, from the newest checkpoint of its run.

    Raises CodesError where the params of the run are not such an autoencoder's, or the size or
    normalisation of its pictures differs.
    """
    tokenizer = load_trained(workdir)
    missing = sorted(set(PARTS) - set(tokenizer.evaluated.params))
    if missing:
        raise CodesError(
            f"the run {workdir} does not turn pictures into codes and back: its params have no "
            f"{', '.join(missing)}; name the run of a tokenizer such as configs/vqgan.py"
        )
    if _pictures_of(tokenizer.spec) != _pictures_of(spec):
        raise CodesError(
            f"the tokenizer {workdir} was trained on {tokenizer.spec}, this config's input is "
            f"{spec}: give both the same input section"
        )
    params = {name: tokenizer.evaluated.params[name] for name in PARTS}
    size = len(params["codebook"]["vectors"])
    return PictureCodes(tokenizer.method.net, size, lambda: params)
