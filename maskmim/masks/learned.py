"""Masks from the logits of a sampling network: visible tokens drawn without replacement.

Adding independent Gumbel noise to logits and keeping the k largest draws k tokens without
replacement from softmax(logits), so one sort does for a whole batch what `torch.multinomial` does
row by row.

Source: AdaMAE (arXiv 2211.09120) and the repository wgcban/adamae. I2P-MAE draws by the same law
with the saliency of each token, back-projected from pictures, in place of logits.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.masks.core import from_scores
from maskmim.types import Array, Context, Mask, Randomness


def perturbed(randomness: Randomness, logits: Array) -> Array:
    """Logits f32[B, N] plus Gumbel noise: the largest k are a draw without replacement.

    The tokens in descending order are the order of the draw.
    """
    shape = logits.shape[1:]
    noise = jax.vmap(lambda key: jax.random.gumbel(key, shape))(randomness.each("mask"))
    return logits + noise


def sampled_scores(randomness: Randomness, context: Context) -> Array:
    """The hint 'logits' plus Gumbel noise, f32[B, N]; the largest stay visible."""
    return perturbed(randomness, context.hints["logits"])


def sampled(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Draws the visible tokens without replacement from the softmax of the hint 'logits'.

    ratio: share of hidden tokens, exact after rounding; 0.95 in AdaMAE: 78 of 1568 are visible.
    Source: get_mask of models/pretrain/vit.py, wgcban/adamae (torch.multinomial).
    Differences: `round(ratio * N)` tokens are hidden, where the official code keeps
    `int(N * (1 - ratio))`; logits that are not finite are not replaced by numbers, so a diverged
    network is seen.
    """
    return from_scores(sampled_scores(randomness, context), ratio=ratio)


sampled.needs = sampled_scores.needs = ("logits",)


def log_probabilities(logits: Array) -> Array:
    """Log-probability of each token as the first to be drawn: f32[B, N] -> f32[B, N].

    AdaMAE's sampling loss weighs these by the errors of the hidden tokens, without gradients: as
    if each token were a draw of its own from the whole distribution, which is not the law of a draw
    without replacement; that is `draw_log_probability`.
    Source: train_one_epoch of msc/engine_for_pretraining.py, wgcban/adamae. Difference: the
    official code takes logarithms of probabilities, which torch bounds below by 1.2e-7 (and their
    gradients there by 0); here nothing is cut off.
    """
    return jax.nn.log_softmax(logits, axis=-1)


def draw_log_probability(logits: Array, order: Array) -> Array:
    """Log-probability f32[B] of drawing exactly these tokens in this order, without replacement.

    logits: f32[B, N]. order: i32[B, K] the tokens in the order of the draw, that of descending
    `sampled_scores`: `jax.lax.top_k(scores, K)[1]`. `Mask.visible` is ascending and does not do.
    The law of Plackett and Luce: each token's softmax over those that are left.
    """
    rows = jnp.arange(len(logits))[:, None]
    drawn = logits[rows, order]
    others = logits.at[rows, order].set(-jnp.inf)
    never = jax.nn.logsumexp(others, axis=-1, keepdims=True)
    left = jax.lax.cumlogsumexp(jnp.concatenate([drawn, never], axis=-1), axis=1, reverse=True)
    return jnp.sum(drawn - left[:, :-1], axis=-1)
