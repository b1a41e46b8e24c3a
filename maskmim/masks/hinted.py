"""Masks that reveal some of the tokens a teacher attends to most."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import FractionBelowOne
from maskmim.masks.core import MaskError, keep_strongest, ranks
from maskmim.masks.ratio import Law
from maskmim.masks.uniform import random_scores
from maskmim.types import Context, Mask, Randomness

Sampler = Callable[[Randomness, Context], Mask]


@facts.sampler(needs=("attention",))
def hinted(
    randomness: Randomness,
    context: Context,
    *,
    sampler: Sampler,
    law: Law,
    show: FractionBelowOne = 0.1,
) -> Mask:
    """Hide as another sampler does, but reveal some of the most attended tokens.

    sampler: must let every token enter and list every token as predicted, as those of `varied` do.
    show:    the `int(show * N)` most attended tokens are candidates.
    law:     brick of `ratio`, draws the share of candidates that is revealed, once for the whole
             batch and independently of the mask's ratio.
    Reads the hint 'attention' f32[B, N]. Fewer tokens stay hidden than the sampler hid.
    Raises MaskError unless 0 <= show < 1, and for a sampler that drops tokens.
    Source: AttMask-Hint (arXiv 2203.12719), show_hints of attmask.py, gkakogeorgiou/attmask.
    `attention.hint` has a fixed ratio.
    """
    if not 0 <= show < 1:
        raise MaskError(f"show {show}: a share of the tokens, at least 0 and below 1")
    attention = context.hints["attention"]
    length = attention.shape[-1]
    mask = sampler(randomness, context)
    if not mask.visible.shape[-1] == mask.predict.shape[-1] == length:
        raise MaskError(
            f"hinted: {mask.visible.shape[-1]} of {length} tokens enter the encoder and "
            f"{mask.predict.shape[-1]} are predicted; use a sampler of maskmim.masks.varied"
        )
    inside = randomness.inside("hinted")
    share = law(inside.shared("ratio"), context.progress)
    count = jnp.floor(show * length * share).astype(jnp.int32)
    candidates = keep_strongest(attention, int(show * length))
    noise = jnp.where(candidates, random_scores(inside, context), -1.0)
    unrevealed = ranks(noise) < length - count
    return mask._replace(hidden=mask.hidden & unrevealed, weight=mask.weight * unrevealed)
