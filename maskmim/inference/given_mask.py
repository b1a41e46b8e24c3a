"""A sampler that draws nothing: the hidden tokens are those that the batch names."""

from __future__ import annotations

from maskmim.config.ranges import PositiveInt
from maskmim.masks import roles
from maskmim.masks.core import from_hidden
from maskmim.types import Context, Mask, Randomness

# The batch's array of hidden tokens, bool[B, N].
GIVEN = "hidden_tokens"


def given(
    randomness: Randomness,
    context: Context,
    *,
    count: PositiveInt,
    in_place: bool = False,
    all_predicted: bool = False,
) -> Mask:
    """Hide the tokens that `context.batch[GIVEN]` bool[B, N] names.

    count:         of them, in every example.
    in_place:      every token enters the encoder, hidden ones as mask embeddings.
    all_predicted: every token is predicted, with weight 1.
    """

    def sampler(randomness: Randomness, context: Context) -> Mask:
        return from_hidden(context.batch[GIVEN], count=count)

    mask = sampler(randomness, context)
    if in_place:
        mask = mask._replace(visible=roles.in_place(randomness, context, sampler=sampler).visible)
    if all_predicted:
        every = roles.all_predicted(randomness, context, sampler=sampler)
        mask = mask._replace(predict=every.predict, weight=every.weight)
    return mask
