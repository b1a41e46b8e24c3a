"""Terms of a loss: what is compared with what, per predicted token."""

from __future__ import annotations

from collections.abc import Callable

from maskmim.config.describe import needs_of, title
from maskmim.types import Array, Objective, View


def match(
    *,
    head: str,
    target: Callable[[View], Array],
    loss: Callable[[Array, Array], Array],
    scale: float = 1.0,
) -> Objective:
    """A head's prediction compared with a target on each predicted token.

    head:   name of the head, a key of `View.outputs`, f32[B, P, V].
    target: brick, view -> f32[B, P, V] or i32[B, P].
    loss:   brick, (prediction, target) -> f32[B, P].
    scale:  factor in the sum of objectives.
    The weights are the mask's. A target that stands for pixels carries the function that turns a
    prediction back into them as its attribute `pixels`; then the objective can be shown. Another
    one that can be drawn carries `shows`, (view, prediction) -> {column: pictures}.
    """
    function = getattr(target, "func", target)
    show = getattr(function, "pixels", None)
    draw = getattr(function, "shows", None)

    def find(view: View):
        per_token = loss(view.outputs[head], target(view))
        return per_token, view.mask.weight, {}, ()

    def pixels(view: View) -> dict[str, Array]:
        prediction = view.outputs[head]
        shown = show(view, prediction)
        return {"target": target(view), "prediction": prediction, "pixels": shown}

    return Objective(
        needs=needs_of(target),
        scale=scale,
        find=find,
        says=f"{title(target)}, {title(loss)}",
        pixels=pixels if show else None,
        shows=(lambda view: draw(view, view.outputs[head])) if draw else None,
    )
