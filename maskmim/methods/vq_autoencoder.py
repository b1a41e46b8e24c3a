"""Training a tokenizer of pictures: VQGAN, with its discriminator or without.

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

from maskmim.losses.entropy import code_entropy, distances
from maskmim.masks.core import whole
from maskmim.models.critic import Critic
from maskmim.quantize.vector_quantize import (
    code_counts,
    nearest,
    perplexity,
    straight_through,
    used,
)
from maskmim.teachers.picture_codes import codes_of, drawn, picture_of, vectors_of
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

fixed = jax.lax.stop_gradient


class Pass(NamedTuple):
    """One pass through the autoencoder: true and drawn pictures f32[B, H, W, C], and the losses."""

    true: Array
    drawn: Array
    terms: dict[str, Mean]
    metrics: dict[str, Mean]


def autoencoder(spec: Spec, *, model: Callable[[Spec], Net], scales: Mapping[str, float]) -> Method:
    """An autoencoder through the codes of a codebook; every keyword is a section of the config.

    model:  brick, spec -> Net as `picture_codes` describes it.
    scales: of the terms 'reconstruction' (squared error of the inputs), 'codebook' (codes towards
            their vectors), 'commitment' (vectors towards their codes) and 'entropy'
            (`code_entropy`, over the tokens of a micro-batch together).

    `apply`: 'codes' (variables, batch) -> i32[B, N]; 'codebook' variables -> f32[codes, width];
    'draw' (variables, codes) -> u8[B, H, W, C]; 'encode' gives the codes' vectors.
    Difference: without the perceptual loss, which needs a classifier trained on ImageNet.
    """
    net = model(spec)

    def loss(variables: Variables, batch: Batch, randomness: Randomness, progress: Array) -> Losses:
        found = _pass(net, variables.params, batch)
        return Losses(found.terms, dict(scales), found.metrics, ())

    return _method(net, lambda key: (net.init(key), ()), loss, ())


def adversarial(
    spec: Spec,
    *,
    model: Callable[[Spec], Net],
    critic: Callable[[Spec], Critic],
    scales: Mapping[str, float],
) -> Method:
    """`autoencoder` against a discriminator, both learning in the same step.

    critic: brick, spec -> Critic; its params are trained as params['critic'].
    scales: of those terms, and of 'adversarial' (what is drawn should look true), 'discriminator'
            (true pictures from drawn ones) and 'slope' (R1: squares of the gradient of its score,
            summed over a true picture). Losses are non-saturating.

    The gradient of a term stops at what is not its own, so that one step of one optimiser does
    what two do. Differences: both take their step from the same state, where a loop trains one
    after the other.
    """
    net, judge = model(spec), critic(spec)

    def init(key: Array) -> tuple[Tree, Tree]:
        first, second = jax.random.split(key)
        return {**net.init(first), "critic": judge.init(second)}, ()

    def loss(variables: Variables, batch: Batch, randomness: Randomness, progress: Array) -> Losses:
        found = _pass(net, variables.params, batch)
        contest = _contest(judge, variables.params["critic"], found)
        return Losses({**found.terms, **contest}, dict(scales), found.metrics, ())

    return _method(net, init, loss, (("discriminator", judge.says),))


def _pass(net: Net, params: Tree, batch: Batch) -> Pass:
    inputs = net.inputs(batch)
    codebook = params["codebook"]["vectors"]
    vectors = vectors_of(net, params, inputs)
    codes = nearest(fixed(vectors), fixed(codebook))
    quantised = codebook[codes]
    picture = picture_of(net, params, straight_through(vectors, quantised))
    examples = float(len(inputs))
    entropy = code_entropy(distances(vectors, codebook))
    terms = {
        "reconstruction": _mean((picture - inputs) ** 2),
        "codebook": _mean((quantised - fixed(vectors)) ** 2),
        "commitment": _mean((vectors - fixed(quantised)) ** 2),
        "entropy": Mean(entropy * examples, jnp.float32(examples)),
    }
    counts = code_counts(codes, len(codebook))
    metrics = {"codes/perplexity": _mean(perplexity(counts)), "codes/used": _mean(used(counts))}
    return Pass(inputs, picture, terms, metrics)


def _contest(judge: Critic, critic: Tree, found: Pass) -> dict[str, Mean]:
    """The terms of the discriminator and against it."""
    true, slope = jax.vjp(lambda pictures: judge.score(critic, pictures), found.true)
    (slope,) = slope(jnp.ones_like(true))
    fooled = judge.score(fixed(critic), found.drawn)
    told = judge.score(critic, fixed(found.drawn))
    return {
        "adversarial": _mean(jax.nn.softplus(-fooled)),
        "discriminator": _mean(jax.nn.softplus(-true) + jax.nn.softplus(told)),
        "slope": _mean(jnp.sum(slope**2, axis=(1, 2, 3))),
    }


def _mean(values: Array) -> Mean:
    return Mean(jnp.sum(values), jnp.float32(values.size))


def _method(
    net: Net,
    init: Callable[[Array], tuple[Tree, Tree]],
    loss: Callable[..., Losses],
    said: tuple[tuple[str, str], ...],
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
        chain=(tokens, *net.says, *said),
        sheets={"tokenizer": partial(_sheet, net)},
    )


def _codes(net: Net, variables: Variables, batch: Batch) -> Array:
    return codes_of(net, variables.params, net.inputs(batch))


def _encode(net: Net, variables: Variables, batch: Batch) -> Encoded:
    vectors = variables.params["codebook"]["vectors"][_codes(net, variables, batch)]
    return Encoded(vectors[:, :0], vectors)


def _draw(net: Net, variables: Variables, codes: Array) -> Array:
    return net.display(drawn(net, variables.params, codes))


def _mask(net: Net, variables: Variables, batch: Batch, randomness: Randomness) -> dict[str, Any]:
    """Nothing is hidden; the trainer draws and counts what `mask` says."""
    inputs = net.inputs(batch)
    (grid,) = net.grids.values()
    return {"mask": whole(len(inputs), grid[0] * grid[1]), "inputs": inputs}


def _sheet(
    net: Net, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    codes = _codes(net, variables, batch)
    return {"image": net.display(net.inputs(batch)), "from its codes": _draw(net, variables, codes)}
