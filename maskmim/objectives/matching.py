"""The basic objective: a head compared with a target on each predicted token."""

from __future__ import annotations

from collections.abc import Callable

from maskmim.config.describe import needs_of, title
from maskmim.config.facts import facts_of
from maskmim.types import Array, Objective, View


def match(
    *,
    head: str,
    target: Callable[[View], Array],
    loss: Callable[[Array, Array], Array],
    scale: float = 1.0,
) -> Objective:
    """Compare a head's prediction with a target on each predicted token.

    head:   name of the head, a key of `View.outputs`, f32[B, P, V].
    target: brick, view -> f32[B, P, V] or i32[B, P].
    loss:   brick, (prediction, target) -> f32[B, P].
    scale:  factor in the sum of objectives.
    The weights are the mask's. The objective is drawn with the target's `pixels` or `shows`, see
    `maskmim.config.facts.Facts`.
    """
    facts = facts_of(target)

    def find(view: View):
        per_token = loss(view.outputs[head], target(view))
        return per_token, view.mask.weight, {}, ()

    def pixels(view: View) -> dict[str, Array]:
        prediction = view.outputs[head]
        shown = facts.pixels(view, prediction)
        return {"target": target(view), "prediction": prediction, "pixels": shown}

    def shows(view: View) -> dict[str, Array]:
        return facts.shows(view, view.outputs[head])

    return Objective(
        needs=needs_of(target),
        scale=scale,
        find=find,
        says=f"{title(target)}, {title(loss)}",
        pixels=pixels if facts.pixels else None,
        shows=shows if facts.shows else None,
    )
