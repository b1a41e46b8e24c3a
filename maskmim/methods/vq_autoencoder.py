"""Training of a tokenizer of pictures: VQGAN, with or without its discriminator.

Source: MaskGIT (arXiv 2202.04200), section 3.1; nets/vqgan_tokenizer.py, libml/losses.py and
configs/vqgan_config.py of google-research/maskgit, which has no training loop; VQGAN
(arXiv 2012.09841).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from maskmim.config.ranges import NonNegative
from maskmim.config.returned import returned
from maskmim.losses.entropy import code_entropy, squared_distances
from maskmim.masks.core import nothing_hidden
from maskmim.models.critic import Critic
from maskmim.quantize.vector_quantize import (
    code_counts,
    nearest,
    perplexity,
    straight_through,
    used_share,
)
from maskmim.teachers.picture_codes import (
    codes_of,
    picture_of_codes,
    picture_of_vectors,
    vectors_of,
)
from maskmim.types import (
    Array,
    Batch,
    Encoded,
    Losses,
    Mean,
    Method,
    Net,
    Randomness,
    Spec,
    Tree,
    Variables,
    nothing,
)


class Pass(NamedTuple):
    """One pass through the autoencoder: pictures f32[B, H, W, C] before and after, and losses."""

    inputs: Array
    reconstruction: Array
    terms: dict[str, Mean]
    metrics: dict[str, Mean]


def autoencoder(
    spec: Spec, *, model: Callable[[Spec], Net], scales: Mapping[str, NonNegative]
) -> Method:
    """Train an autoencoder through the codes of a codebook; keywords are sections of the config.

    model:  brick, spec -> Net as `teachers.picture_codes` describes it.
    scales: factors of the terms 'reconstruction' (squared error of the inputs), 'codebook' (codes
            towards their vectors), 'commitment' (vectors towards their codes) and 'entropy'
            (`code_entropy`, over all tokens of a micro-batch).

    `apply` has 'codes', 'codebook' and 'draw'; 'encode' returns the codes' vectors.
    Difference: no perceptual loss, which needs a classifier trained on ImageNet.
    """
    net = returned(model(spec), Net, "model.brick", model)

    def loss(variables: Variables, batch: Batch, randomness: Randomness, progress: Array) -> Losses:
        result = _autoencode(net, variables.params, batch)
        return Losses(result.terms, dict(scales), result.metrics, ())

    return _method(net, lambda key: (net.init(key), ()), loss, ())


def adversarial(
    spec: Spec,
    *,
    model: Callable[[Spec], Net],
    critic: Callable[[Spec], Critic],
    scales: Mapping[str, NonNegative],
) -> Method:
    """Train `autoencoder` against a discriminator, both in the same step.

    critic: brick, spec -> Critic; its params are trained as params['critic'].
    scales: factors of those terms, and of 'adversarial' (reconstructions should look real),
            'discriminator' (tell real pictures from reconstructions) and 'slope' (R1: the squared
            gradient of the score, summed over a real picture). Losses are non-saturating.

    Each term's gradient reaches only the network that the term trains, so one optimiser step
    updates both networks.
    Difference: both updates start from the same state; the usual loop alternates them.
    """
    net = returned(model(spec), Net, "model.brick", model)
    discriminator = returned(critic(spec), Critic, "critic.brick", critic)

    def init(key: Array) -> tuple[Tree, Tree]:
        first, second = jax.random.split(key)
        return {**net.init(first), "critic": discriminator.init(second)}, ()

    def loss(variables: Variables, batch: Batch, randomness: Randomness, progress: Array) -> Losses:
        result = _autoencode(net, variables.params, batch)
        terms = adversarial_terms(discriminator, variables.params["critic"], result)
        return Losses({**result.terms, **terms}, dict(scales), result.metrics, ())

    return _method(net, init, loss, (("discriminator", discriminator.says),))


def _autoencode(net: Net, params: Tree, batch: Batch) -> Pass:
    inputs = net.inputs(batch)
    codebook = jnp.asarray(params["codebook"]["vectors"])
    vectors = vectors_of(net, params, inputs)
    codes = nearest(stop_gradient(vectors), stop_gradient(codebook))
    quantised = codebook[codes]
    picture = picture_of_vectors(net, params, straight_through(vectors, quantised))
    examples = float(len(inputs))
    entropy = code_entropy(squared_distances(vectors, codebook))
    terms = {
        "reconstruction": _mean((picture - inputs) ** 2),
        "codebook": _mean((quantised - stop_gradient(vectors)) ** 2),
        "commitment": _mean((vectors - stop_gradient(quantised)) ** 2),
        "entropy": Mean(entropy * examples, jnp.float32(examples)),
    }
    counts = code_counts(codes, len(codebook))
    metrics = {
        "codes/perplexity": _mean(perplexity(counts)),
        "codes/used": _mean(used_share(counts)),
    }
    return Pass(inputs, picture, terms, metrics)


def adversarial_terms(discriminator: Critic, params: Tree, result: Pass) -> dict[str, Mean]:
    """Return the terms that train the discriminator, and the one that trains against it.

    params: the discriminator's.
    """
    real, backward = jax.vjp(lambda pictures: discriminator.score(params, pictures), result.inputs)
    (slope,) = backward(jnp.ones_like(real))
    to_fool = discriminator.score(stop_gradient(params), result.reconstruction)
    fake = discriminator.score(params, stop_gradient(result.reconstruction))
    return {
        "adversarial": _mean(jax.nn.softplus(-to_fool)),
        "discriminator": _mean(jax.nn.softplus(-real) + jax.nn.softplus(fake)),
        "slope": _mean(jnp.sum(slope**2, axis=(1, 2, 3))),
    }


def _mean(values: Array) -> Mean:
    return Mean(jnp.sum(values), jnp.float32(values.size))


def _method(
    net: Net,
    init: Callable[[Array], tuple[Tree, Tree]],
    loss: Callable[..., Losses],
    lines: tuple[tuple[str, str], ...],
) -> Method:
    (stream, grid), *_ = net.grids.items()
    tokens = ("tokens", f"{stream} {'x'.join(map(str, grid))}")
    return Method(
        net=net,
        init=init,
        freeze=nothing,
        loss=loss,
        refresh=lambda variables, carry, progress: variables.extra,
        apply={
            "encode": partial(_encode, net),
            "mask": partial(_mask, net),
            "codes": partial(_codes, net),
            "codebook": lambda variables: variables.params["codebook"]["vectors"],
            "draw": partial(_draw, net),
        },
        chain=(tokens, *net.says, *lines),
        sheets={"tokenizer": partial(_sheet, net)},
        does="training of a tokenizer",
    )


def _codes(net: Net, variables: Variables, batch: Batch) -> Array:
    return codes_of(net, variables.params, net.inputs(batch))


def _encode(net: Net, variables: Variables, batch: Batch) -> Encoded:
    codebook = jnp.asarray(variables.params["codebook"]["vectors"])
    vectors = codebook[_codes(net, variables, batch)]
    return Encoded(vectors[:, :0], vectors)


def _draw(net: Net, variables: Variables, codes: Array) -> Array:
    return net.display(picture_of_codes(net, variables.params, codes))


def _mask(net: Net, variables: Variables, batch: Batch, randomness: Randomness) -> dict[str, Any]:
    """Return a mask that hides nothing, and the inputs."""
    inputs = net.inputs(batch)
    (grid,) = net.grids.values()
    return {"mask": nothing_hidden(len(inputs), grid[0] * grid[1]), "inputs": inputs}


def _sheet(
    net: Net, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    codes = _codes(net, variables, batch)
    return {"image": net.display(net.inputs(batch)), "from its codes": _draw(net, variables, codes)}
