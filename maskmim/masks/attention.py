"""Masks from a teacher's attention, which hide, hint at or keep the most attended tokens.

All read the hint 'attention' f32[B, N]: the attention of the class token over the tokens, averaged
over heads; AttMask takes it from the last block of the student's EMA on the unmasked image.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import FractionBelowOne, OpenFraction
from maskmim.masks.core import MaskError, check_finite, from_scores, keep_strongest
from maskmim.masks.learned import perturbed
from maskmim.masks.uniform import random_scores
from maskmim.types import Array, Context, Mask, Randomness


def counts(grid: tuple[int, ...], *, ratio: OpenFraction) -> tuple[int, int]:
    """Return the numbers of visible and hidden tokens of `high` and `low`.

    `int(ratio * N)` are hidden, as in AttMask: 58 for 0.3 of 196. Raises MaskError unless both are
    positive.
    """
    length = math.prod(grid)
    check_finite(ratio)
    hidden = int(length * ratio)
    if not 0 < hidden < length:
        raise MaskError(
            f"mask ratio {ratio} of {length} tokens hides {hidden}: at least one must be hidden "
            "and one visible; change the ratio, the patch size or the image size"
        )
    return length - hidden, hidden


def hint_counts(
    grid: tuple[int, ...], *, ratio: OpenFraction, show: FractionBelowOne = 0.1
) -> tuple[int, int]:
    """Return the numbers of visible and hidden tokens of `hint`.

    `int(ratio * N) - int(show * ratio * N)` are hidden: 53 for 0.3 of 196. Raises MaskError where
    `counts` does, and unless 0 <= show < 1.
    """
    if not 0 <= show < 1:
        raise MaskError(
            f"show {show}: the share of most attended tokens to reveal some of is at least 0 and "
            "below 1, so that something stays hidden"
        )
    visible, hidden = counts(grid, ratio=ratio)
    revealed = int(show * ratio * (visible + hidden))
    if revealed == hidden:
        raise MaskError(
            f"show {show} reveals all {hidden} hidden tokens: lower it, or raise the ratio"
        )
    return visible + revealed, hidden - revealed


@facts.scores(needs=("attention",))
def high_scores(randomness: Randomness, context: Context) -> Array:
    """Return minus the attention, f32[B, N]; the least attended tokens stay visible."""
    return -context.hints["attention"]


@facts.scores(needs=("attention",))
def low_scores(randomness: Randomness, context: Context) -> Array:
    """Return the attention, f32[B, N]; the most attended tokens stay visible."""
    return context.hints["attention"]


@facts.scores(needs=("attention",))
def hint_scores(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction = 0.3,
    show: FractionBelowOne = 0.1,
) -> Array:
    """Return minus the attention, and infinity at revealed tokens: f32[B, N].

    `int(show * ratio * N)` tokens are revealed, drawn uniformly without replacement from the
    `int(show * N)` most attended ones. Where `varied` varies the number of hidden tokens, the
    number of revealed ones stays that of `ratio`; the official code draws a second, independent
    ratio for it.
    """
    attention = context.hints["attention"]
    length = attention.shape[-1]
    candidates = keep_strongest(attention, min(int(show * length), int(length * ratio)))
    noise = random_scores(randomness, context)
    revealed = keep_strongest(jnp.where(candidates, noise, -1.0), int(show * ratio * length))
    return jnp.where(revealed, jnp.inf, -attention)


@facts.scores(needs=("attention",))
def sampled_scores(randomness: Randomness, context: Context) -> Array:
    """Add Gumbel noise to the logarithms of the attention: f32[B, N]; the largest stay visible.

    An attention of 0 counts as 1e-38: such tokens are drawn last, all equally likely.
    """
    attention = context.hints["attention"]
    return perturbed(randomness, jnp.log(jnp.maximum(attention, jnp.finfo(jnp.float32).tiny)))


@facts.sampler(needs=("attention",), counts=counts)
def high(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide the most attended tokens.

    ratio: share of hidden tokens; `int(ratio * N)` of them, see `counts`. AttMask draws 0.1 to 0.5
    for each batch and masks a crop with probability 0.5: `varied.per_batch` with `high_scores`.
    Source: AttMask (arXiv 2203.12719) and attmask.py of gkakogeorgiou/attmask; also the
    high-informed masks of MASCOT.
    Differences: of equally attended tokens the higher index is hidden first; the official sort
    leaves their order undefined.
    """
    return _hide_weakest(high_scores(randomness, context), counts((context.length,), ratio=ratio))


@facts.sampler(needs=("attention",), counts=counts)
def low(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide the least attended tokens.

    ratio, source and differences as `high`; also the low-informed masks of MASCOT.
    """
    return _hide_weakest(low_scores(randomness, context), counts((context.length,), ratio=ratio))


@facts.sampler(needs=("attention",), counts=hint_counts)
def hint(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, show: FractionBelowOne = 0.1
) -> Mask:
    """Hide the most attended tokens, except a random few of the very highest.

    ratio: share of tokens that are hidden before some are revealed, see `hint_counts`.
    show: share of tokens, the most attended, among which a share `ratio` is revealed.
    Raises MaskError unless 0 <= show < 1, and where nothing would stay hidden.
    Source: as `high`; show is --show_max.
    Differences: where show is larger than ratio, the revealed tokens are drawn from the hidden ones
    only; the official code may then draw tokens that are visible already, so that its numbers vary.
    """
    numbers = hint_counts((context.length,), ratio=ratio, show=show)
    return _hide_weakest(hint_scores(randomness, context, ratio=ratio, show=show), numbers)


@facts.sampler(needs=("attention",))
def sampled(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide all but tokens drawn without replacement in proportion to attention.

    ratio: share of hidden tokens, exact after rounding.
    Source: attention_masking of MILAN (arXiv 2208.06049; models_milan.py of zejiangh/MILAN, 0.75)
    and of MaskAlign (arXiv 2211.08887; models_pretrain.py of OpenDriveLab/maskalign, 0.7).
    Differences: `round(ratio * N)` tokens are hidden, where both official codes keep
    `int(N * (1 - ratio))`: 59 against 58 visible tokens for 0.7 of 196, the same for 0.75. They
    fail for an attention of 0; see `sampled_scores`.
    """
    return from_scores(sampled_scores(randomness, context), ratio=ratio)


def _hide_weakest(scores: Array, numbers: tuple[int, int]) -> Mask:
    return from_scores(scores, ratio=numbers[1] / sum(numbers))
