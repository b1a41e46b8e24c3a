"""Masks with a number of hidden tokens that varies, in static shapes.

The share of hidden tokens is drawn from a law of `ratio`. Tokens are ranked by a score (any
`..._scores` function of this package) and the weakest are hidden; `block_wise` hides blocks. All
arrays have the sizes of the largest case: tokens that are hidden but not dropped enter the encoder
as mask embeddings, and tokens that are listed as predicted but not hidden have weight 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.config.ranges import FractionBelowOne, PositiveInt, PositiveRange
from maskmim.masks.blocks import beit_blocks
from maskmim.masks.core import MaskError, keep_strongest, positions, ranks
from maskmim.masks.ratio import Law
from maskmim.types import Array, Context, Mask, Randomness

Scores = Callable[[Randomness, Context], Array]


def per_example(
    randomness: Randomness,
    context: Context,
    *,
    scores: Scores,
    law: Law,
    dropped: FractionBelowOne = 0.0,
) -> Mask:
    """Hide the weakest tokens, their share drawn for each example from a law.

    scores:  brick, (randomness, context) -> f32[B, N], the weakest are hidden.
    law:     brick of `ratio`.
    dropped: share of tokens, all hidden, that do not enter the encoder, rounded up; a smaller share
             from the law is raised to it.

    Returns visible: the N - dropped strongest tokens; hidden: the drawn share, rounded, dropped
    ones included; predict: every token, weight 1 where hidden and 0 elsewhere.
    Raises MaskError unless 0 <= dropped < 1.
    Source: MAGE, mask_generation in models_mage.py (dropped = 0.5; it rounds the ratio up), and
    MaskGIT (dropped = 0). An example with a ratio of 0 has no weight in the loss.
    """
    keys = randomness.each("ratio")
    shares = jax.vmap(lambda key: law(key, context.progress))(keys)
    return _hide(scores(randomness, context), shares, dropped)


def per_batch(
    randomness: Randomness,
    context: Context,
    *,
    scores: Scores,
    law: Law,
    dropped: FractionBelowOne = 0.0,
) -> Mask:
    """Hide the weakest tokens, their share drawn once for the whole global batch.

    Arguments and result as `per_example`.
    Source: ENAT, AttMask, MAGE and magvit draw one ratio for each batch or device.
    """
    ranked = scores(randomness, context)
    share = law(randomness.shared("ratio"), context.progress)
    return _hide(ranked, jnp.broadcast_to(share, ranked.shape[:1]), dropped)


def block_wise(
    randomness: Randomness,
    context: Context,
    *,
    law: Law,
    smallest: PositiveInt = 16,
    aspect: PositiveRange = (0.3, 1 / 0.3),
    trials: PositiveInt = 128,
) -> Mask:
    """Hide blocks of random sizes and aspects, as many as fit in a share drawn for each example.

    law:    brick of `ratio`; of its share, rounded down to tokens, whole blocks hide as much as
            they can.
    smallest, aspect, trials: as of `blocks.beit`.
    Every token enters the encoder; predict is every token, with weight 1 where hidden, else 0.
    Works on a grid of one to three axes. Raises MaskError for invalid arguments.
    Source: iBOT (arXiv 2111.07832), ImageFolderMask of loader.py, bytedance/ibot: half of the crops
    have no mask, the others 10 to 50 % (--pred_ratio 0 0.3 --pred_ratio_var 0 0.2), blocks have at
    least a ninth of a square grid, 16 of 196.
    Differences: see `blocks.beit_blocks`.
    """
    grid, length = context.grid, context.length
    shares = jax.vmap(lambda key: law(key, context.progress))(randomness.each("ratio"))
    counts = jnp.floor(shares * length).astype(jnp.int32)
    numbers = trials, 2 * len(grid)
    draw = jax.vmap(lambda key: jax.random.uniform(key, numbers, jnp.float32))
    uniforms = draw(randomness.each("mask"))
    hidden = beit_blocks(uniforms, grid, count=counts, smallest=smallest, aspect=aspect)
    return _in_place(hidden.reshape(-1, length))


def _hide(scores: Array, shares: Array, dropped: float) -> Mask:
    length = scores.shape[-1]
    if not 0 <= dropped < 1:
        raise MaskError(f"dropped {dropped}: a share of the tokens, at least 0 and below 1")
    dropped_count = math.ceil(dropped * length - 1e-9)
    counts = jnp.clip(jnp.round(shares * length).astype(jnp.int32), dropped_count, length)
    hidden = ranks(scores) < counts[:, None]
    entering = length - dropped_count
    visible = positions(keep_strongest(scores, entering), entering)
    return _in_place(hidden)._replace(visible=visible)


def _in_place(hidden: Array) -> Mask:
    """Return the mask whose tokens all enter and are all predicted, with weight where hidden."""
    tokens = jnp.arange(hidden.shape[-1], dtype=jnp.int32)
    tokens = jnp.broadcast_to(tokens, hidden.shape)
    return Mask(tokens, tokens, hidden, hidden.astype(jnp.float32))
