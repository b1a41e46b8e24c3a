"""Masks from a teacher's attention: what is attended to most is hidden, hinted at or kept.

All read the hint 'attention' f32[B, N]: the attention of the class token over the tokens, heads
averaged; AttMask takes it from the last block of the averaged student on the whole image.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from maskmim.masks.core import MaskError, from_scores, keep_strongest
from maskmim.masks.learned import perturbed
from maskmim.masks.uniform import random_scores
from maskmim.types import Array, Context, Mask, Randomness


def counts(grid: tuple[int, ...], *, ratio: float) -> tuple[int, int]:
    """Visible and hidden tokens of `high` and `low`: `int(ratio * N)` are hidden, as in AttMask.

    0.3 of 196 tokens hides 58. Raises MaskError unless both numbers are positive.
    """
    length = math.prod(grid)
    hidden = int(length * ratio)
    if not 0 < hidden < length:
        raise MaskError(
            f"mask ratio {ratio} of {length} tokens hides {hidden}: at least one must be hidden "
            "and one visible; change mask.ratio, the patch size or the image size"
        )
    return length - hidden, hidden


def hint_counts(grid: tuple[int, ...], *, ratio: float, show: float = 0.1) -> tuple[int, int]:
    """Visible and hidden tokens of `hint`: `int(ratio * N) - int(show * ratio * N)` are hidden.

    0.3 of 196 tokens hides 53. Raises MaskError where `counts` does, and unless 0 <= show < 1.
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
            f"show {show} reveals all {hidden} hidden tokens: lower it, or raise mask.ratio"
        )
    return visible + revealed, hidden - revealed


def high_scores(randomness: Randomness, context: Context) -> Array:
    """Minus the attention, f32[B, N]; the least attended tokens stay visible."""
    return -context.hints["attention"]


def low_scores(randomness: Randomness, context: Context) -> Array:
    """The attention, f32[B, N]; the most attended tokens stay visible."""
    return context.hints["attention"]


def hint_scores(
    randomness: Randomness, context: Context, *, ratio: float = 0.3, show: float = 0.1
) -> Array:
    """Minus the attention, and infinity at tokens that are revealed: f32[B, N].

    `int(show * ratio * N)` tokens are revealed, drawn uniformly without replacement from the
    `int(show * N)` most attended ones. Where the number of hidden tokens varies (`varied`), the
    number of revealed ones does not: it is that of `ratio`. The official code draws a second,
    independent ratio for it.
    """
    attention = context.hints["attention"]
    length = attention.shape[-1]
    among = min(int(show * length), int(length * ratio))
    most = keep_strongest(attention, among)
    noise = random_scores(randomness, context)
    revealed = keep_strongest(jnp.where(most, noise, -1.0), int(show * ratio * length))
    return jnp.where(revealed, jnp.inf, -attention)


def sampled_scores(randomness: Randomness, context: Context) -> Array:
    """Logarithms of the attention plus Gumbel noise, f32[B, N]; the largest stay visible.

    An attention of 0 counts as 1e-38: drawn last, and any of them equally likely.
    """
    attention = context.hints["attention"]
    return perturbed(randomness, jnp.log(jnp.maximum(attention, jnp.finfo(jnp.float32).tiny)))


def high(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Hides the most attended tokens.

    ratio: share of hidden tokens; `int(ratio * N)` of them, see `counts`. AttMask draws 0.1 to 0.5
    for each batch and masks a crop with probability 0.5: `varied.per_batch` with `high_scores`.
    Source: AttMask (arXiv 2203.12719) and attmask.py of gkakogeorgiou/attmask. MASCOT's
    high-informed masks are these.
    Differences: of equally attended tokens the one with the higher index is hidden first; the
    official sort leaves that open.
    """
    return _weakest(high_scores(randomness, context), counts((context.length,), ratio=ratio))


def low(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Hides the least attended tokens.

    ratio, source and differences as `high`. MASCOT's low-informed masks are these.
    """
    return _weakest(low_scores(randomness, context), counts((context.length,), ratio=ratio))


def hint(randomness: Randomness, context: Context, *, ratio: float, show: float = 0.1) -> Mask:
    """Hides the most attended tokens but reveals a random few of the very most attended.

    ratio: share of tokens that are hidden before some are revealed, see `hint_counts`.
    show: the share of most attended tokens of which some are revealed, a share `ratio` of them.
    Raises MaskError unless 0 <= show < 1, and where nothing would stay hidden.
    Source: as `high`; show is --show_max.
    Differences: where show is larger than ratio, the revealed tokens are drawn from the hidden ones
    alone; the official code then may draw tokens that are visible anyway, so that its numbers vary.
    """
    numbers = hint_counts((context.length,), ratio=ratio, show=show)
    return _weakest(hint_scores(randomness, context, ratio=ratio, show=show), numbers)


def sampled(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Draws the visible tokens without replacement with probabilities proportional to attention.

    ratio: share of hidden tokens, exact after rounding.
    Source: attention_masking of MILAN (arXiv 2208.06049; models_milan.py of zejiangh/MILAN, 0.75)
    and of MaskAlign (arXiv 2211.08887; models_pretrain.py of OpenDriveLab/maskalign, 0.7).
    Differences: `round(ratio * N)` tokens are hidden, where the official codes keep
    `int(N * (1 - ratio))`: 59 against 58 visible tokens for 0.7 of 196, the same for 0.75. An
    attention of 0 stops the official codes; see `sampled_scores`.
    """
    return from_scores(sampled_scores(randomness, context), ratio=ratio)


def _weakest(scores: Array, numbers: tuple[int, int]) -> Mask:
    return from_scores(scores, ratio=numbers[1] / sum(numbers))


for _brick in (high, low, hint, sampled, high_scores, low_scores, hint_scores, sampled_scores):
    _brick.needs = ("attention",)
high.counts = low.counts = counts
hint.counts = hint_counts
