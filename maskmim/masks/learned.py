"""Masks from the logits of a sampling network: visible tokens drawn without replacement.

Adding independent Gumbel noise to logits and keeping the k largest draws k tokens without
replacement from softmax(logits), so one sort does for a whole batch what `torch.multinomial` does
row by row.

Source: AdaMAE (arXiv 2211.09120) and the repository wgcban/adamae. I2P-MAE draws in the same way
from the saliency of each token, back-projected from pictures, in place of logits.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction
from maskmim.masks.core import from_scores
from maskmim.types import Array, Context, Mask, Randomness


def perturbed(randomness: Randomness, logits: Array) -> Array:
    """Add Gumbel noise to logits f32[B, N]: the largest k are a draw without replacement.

    Descending order is the order of the draw.
    """
    shape = logits.shape[1:]
    noise = jax.vmap(lambda key: jax.random.gumbel(key, shape, jnp.float32))(
        randomness.each("mask")
    )
    return logits + noise


@facts.scores(needs=("logits",))
def sampled_scores(randomness: Randomness, context: Context) -> Array:
    """Add Gumbel noise to the hint 'logits': f32[B, N]; the largest stay visible."""
    return perturbed(randomness, context.hints["logits"])


@facts.sampler(needs=("logits",))
def sampled(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide all but a draw without replacement from the softmax of the hint 'logits'.

    ratio: share of hidden tokens, exact after rounding; 0.95 in AdaMAE: 78 of 1568 are visible.
    Source: get_mask of models/pretrain/vit.py, wgcban/adamae (torch.multinomial).
    Differences: `round(ratio * N)` tokens are hidden, where the official code keeps
    `int(N * (1 - ratio))`; logits that are not finite are not replaced by numbers, so that a
    diverged network is noticed.
    """
    return from_scores(sampled_scores(randomness, context), ratio=ratio)


def log_probabilities(logits: Array) -> Array:
    """Return the log-probability of each token as the first to be drawn: f32[B, N] -> f32[B, N].

    AdaMAE's sampling loss weighs these by the errors of the hidden tokens, without gradients, as if
    each token were drawn independently from the whole distribution. The probability of a draw
    without replacement is `draw_log_probability`.
    Source: train_one_epoch of msc/engine_for_pretraining.py, wgcban/adamae.
    Differences: the official code takes logarithms of probabilities, which torch clamps to at least
    1.2e-7 (with gradient 0 below it); nothing is clamped here.
    """
    return jax.nn.log_softmax(logits, axis=-1)


def draw_log_probability(logits: Array, order: Array) -> Array:
    """Return the log-probability f32[B] of drawing these tokens in this order.

    logits: f32[B, N]. order: i32[B, K] the tokens in the order of the draw without replacement,
    that of descending `sampled_scores`: `jax.lax.top_k(scores, K)[1]`. `Mask.visible` is ascending
    and must not be used. The Plackett-Luce law: each token's softmax over the tokens that are left.
    """
    rows = jnp.arange(len(logits))[:, None]
    in_order = logits[rows, order]
    others = logits.at[rows, order].set(-jnp.inf)
    undrawn = jax.nn.logsumexp(others, axis=-1, keepdims=True)
    left = jax.lax.cumlogsumexp(jnp.concatenate([in_order, undrawn], axis=-1), axis=1, reverse=True)
    return jnp.sum(in_order - left[:, :-1], axis=-1)
