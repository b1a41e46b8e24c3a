"""The basic objective: a head compared with a target on each predicted token.

`match_class` compares the class token alone, `match_with_class` as one more predicted token.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from maskmim.config.describe import needs_of, title
from maskmim.config.facts import bound_keywords, facts_of
from maskmim.config.ranges import NonNegative
from maskmim.config.returned import returned
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import head_output
from maskmim.types import Array, Objective, View

_ARRAYS = (Array, np.ndarray)


def match(
    *,
    head: str,
    target: Callable[[View], Array],
    loss: Callable[[Array, Array], Array],
    scale: NonNegative = 1.0,
) -> Objective:
    """Compare a head's prediction with a target on each predicted token.

    head:   name of the head, a key of `View.outputs`, f32[B, P, V].
    target: brick, view -> f32[B, P, V] or i32[B, P].
    loss:   brick, (prediction, target) -> f32[B, P].
    scale:  factor in the sum of objectives.
    Raises ModelError for a head that the network lacks, or whose width is not the target's, and for
    a loss of another shape; BrickError for a target or a loss that returns no array.
    The weights are the mask's. The objective is drawn with the target's `pixels` or `shows`, see
    `maskmim.config.facts.Facts`.
    """
    facts = facts_of(target)

    def find(view: View):
        prediction = head_output(view.outputs, head)
        wanted = returned(target(view), _ARRAYS, f"the target of the head {head!r}", target)
        key = f"model.heads.{head}"
        per_token = compare(f"head {head!r}", prediction, wanted, loss, view.mask.weight, key)
        return per_token, view.mask.weight, {}, ()

    def pixels(view: View) -> dict[str, Array]:
        prediction = head_output(view.outputs, head)
        shown = facts.pixels(view, prediction)
        return {"target": target(view), "prediction": prediction, "pixels": shown}

    def shows(view: View) -> dict[str, Array]:
        return facts.shows(view, head_output(view.outputs, head), **bound_keywords(target))

    return Objective(
        needs=needs_of(target),
        scale=scale,
        find=find,
        says=f"{title(target)}, {title(loss)}",
        pixels=pixels if facts.pixels else None,
        shows=shows if facts.shows else None,
    )


def match_class(
    *,
    head: str,
    target: Callable[[View], Array],
    loss: Callable[[Array, Array], Array],
    scale: NonNegative = 1.0,
) -> Objective:
    """Compare a head's prediction of the class token with a target, with weight 1.

    head, loss, scale: as of `match`; the head is f32[B, 1, V]. target: brick, view -> f32[B, 1, V].
    Raises as `match` does. Nothing is drawn.
    Source: data2vec 2.0 (arXiv 2212.07525), cls_loss of data2vec2.py, facebookresearch/fairseq.
    """
    of_class = match(head=head, target=target, loss=loss, scale=scale)

    def find(view: View):
        weight = jnp.ones((len(view.mask.weight), 1), jnp.float32)
        return of_class.find(view._replace(mask=view.mask._replace(weight=weight)))

    says = f"{of_class.says}, of the class token"
    return Objective(needs=of_class.needs, scale=scale, find=find, says=says)


def match_with_class(
    *,
    head: str,
    class_head: str,
    target: Callable[[View], Array],
    class_target: Callable[[View], Array],
    loss: Callable[[Array, Array], Array],
    scale: NonNegative = 1.0,
) -> Objective:
    """Compare a head's prediction with a target on each predicted token and on the class token.

    head, target, loss, scale: as of `match`.
    class_head:   name of the head with the prediction of the class token, f32[B, 1, V].
    class_target: brick, view -> f32[B, 1, V].
    The class token has the weight 1, the others the mask's, and the mean is over all of them.
    Raises as `match` does. Nothing is drawn.
    Source: dBOT (arXiv 2209.03917), forward_loss of models_mae.py, liuxingbin/dbot.
    """
    of_tokens = match(head=head, target=target, loss=loss)
    of_class = match_class(head=class_head, target=class_target, loss=loss)

    def find(view: View):
        found = of_class.find(view), of_tokens.find(view)
        per_token, weights = (jnp.concatenate([one[n] for one in found], axis=1) for n in (0, 1))
        return per_token, weights, {}, ()

    return Objective(
        needs=tuple(dict.fromkeys((*of_tokens.needs, *of_class.needs))),
        scale=scale,
        find=find,
        says=f"{of_tokens.says}, with the class token",
    )


def compare(
    maker: str,
    prediction: Array,
    target: Array,
    loss: Callable[[Array, Array], Array],
    weight: Array,
    key: str,
) -> Array:
    """Return a loss per token f32[B, P], the shape of `weight`, between what fits together.

    maker: who predicts, for messages, such as "head 'pixels'"; key: of the config, with its width.
    Raises ModelError where a target of several values has another number of them, and for a loss of
    another shape; BrickError for a loss that returns no array.
    """
    widths = prediction.shape[-1], target.shape[-1]
    if target.ndim == prediction.ndim and widths[0] != widths[1]:
        patches = " (None for the values of a patch)" if key.startswith("model.heads") else ""
        raise ModelError(
            f"the {maker} has {widths[0]} values for each token, its target {widths[1]}: set "
            f"{key}={widths[1]}{patches}"
        )
    per_token = returned(loss(prediction, target), _ARRAYS, f"the loss of the {maker}", loss)
    if per_token.shape != weight.shape:
        raise ModelError(
            f"the loss {title(loss)} of the {maker} has the shape {per_token.shape}, but there are "
            f"{weight.shape} examples x predicted tokens: return one value for each of them, such "
            "as jnp.mean(..., axis=-1), and average nothing else"
        )
    return per_token
