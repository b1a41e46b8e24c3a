"""The objective that compares means of groups of similar tokens, in place of the tokens."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.config.describe import needs_of, title
from maskmim.config.ranges import NonNegative, PositiveInt
from maskmim.errors import count_of
from maskmim.models.layers.heads import head_output
from maskmim.models.layers.token_merging import group_means, merge_groups
from maskmim.objectives.matching import compare
from maskmim.types import Array, Mean, Objective, View


def morph(
    *,
    head: str,
    target: Callable[[View], Array],
    loss: Callable[[Array, Array], Array],
    schedules: PositiveInt = 2,
    rounds: PositiveInt = 14,
    scale: NonNegative = 1.0,
) -> Objective:
    """Compare a head with a target after both are averaged over groups of similar targets.

    head, target, loss, scale: as of `objectives.match`; the target has values, not classes.
    schedules: how often groups are drawn for a batch; a token's loss is the mean over them.
    rounds:    most rounds of merging, of 14 by the authors; computed whatever is drawn.

    For each schedule a number of tokens to remove is drawn from 0 to all, and a number of rounds
    from 1 to `rounds`, once for the whole batch; every round merges the same number, see
    `drawn_schedule`. Groups are those of `token_merging.merge_groups` of the target; each token's
    prediction and target are replaced by the means of its group. All tokens that are predicted take
    part, those with weight 0 too: DTM predicts every token, `masks.roles.all_predicted`.
    The metric 'groups' is their mean number.
    Raises ModelError as `match` does.
    Source: DTM (arXiv 2401.00254), train_one_epoch of engines/engine_for_dtm.py, naver-ai/dtm.
    Differences: there sums over a group are divided by its size + 1e-6, and each GPU draws its own
    schedules, for each micro-batch anew.
    """

    def find(view: View):
        prediction, wanted = head_output(view.outputs, head), target(view)
        weight, length = view.mask.weight, view.mask.weight.shape[1]
        losses, counts = [], []
        for key in jax.random.split(view.randomness.shared("schedules"), schedules):
            groups = merge_groups(wanted, *drawn_schedule(key, length, rounds), most=rounds)
            pair = group_means(prediction, groups), group_means(wanted, groups)
            key_of_width = f"model.heads.{head}"
            losses.append(compare(f"head {head!r}", *pair, loss, weight, key_of_width))
            counts.append(1 + jnp.max(groups, axis=1))
        total = jnp.sum(jnp.stack(counts)).astype(jnp.float32)
        metrics = {"groups": Mean(total, jnp.float32(schedules * len(weight)))}
        return jnp.mean(jnp.stack(losses), axis=0), weight, metrics, ()

    words = f"means of similar tokens ({count_of(schedules, 'schedule')})"
    return Objective(
        needs=needs_of(target),
        scale=scale,
        find=find,
        says=f"{title(target)}, {words}, {title(loss)}",
    )


def drawn_schedule(key: Array, length: int, rounds: int) -> tuple[Array, Array]:
    """Draw how many tokens each round removes i32[], and the number of rounds i32[].

    Of `length` tokens 0 to all are to be removed, in 1 to `rounds` rounds.
    """
    of_tokens, of_rounds = jax.random.split(key)
    removed = jax.random.randint(of_tokens, (), 0, length + 1, jnp.int32)
    chosen = jax.random.randint(of_rounds, (), 1, rounds + 1, jnp.int32)
    return removed_each(removed, chosen, length), chosen


def removed_each(removed: Array, rounds: Array, length: int) -> Array:
    """Return how many of `length` tokens each round removes.

    That is removed / rounds, rounded up, or down where rounding up makes more than all tokens.
    """
    up, down = -(-removed // rounds), removed // rounds
    return jnp.where(up * rounds > length, down, up)
