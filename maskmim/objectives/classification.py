"""The objective of tokens predicted as classes, and its accuracy."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from maskmim.config.ranges import NonNegative
from maskmim.errors import UserError
from maskmim.losses.classification import cross_entropy
from maskmim.models.layers.heads import head_output
from maskmim.objectives.matching import match
from maskmim.types import Array, Mean, Objective, View


class ObjectiveError(UserError, ValueError):
    """An objective and a network that do not fit together."""


def accuracy(prediction: Array, target: Array) -> Array:
    """Return 1 where the likeliest class is right, else 0: f32[B, P, V], i32[B, P] -> f32[B, P]."""
    return (jnp.argmax(prediction, axis=-1) == target).astype(jnp.float32)


def classify(
    *,
    head: str,
    target: Callable[[View], Array],
    loss: Callable[[Array, Array], Array] = cross_entropy,
    scale: NonNegative = 1.0,
) -> Objective:
    """Compare a head's logits with the classes of the predicted tokens.

    As `objectives.match`, plus the metric 'accuracy', weighted by the mask. Its `find` raises
    ObjectiveError where the head has another number of classes than a hint of the target.
    """
    matched = match(head=head, target=target, loss=loss, scale=scale)

    def find(view: View):
        check_classes(view, head, matched.needs)
        per_token, weight, metrics, carry = matched.find(view)
        right = accuracy(head_output(view.outputs, head), target(view))
        share = Mean(jnp.sum(right * weight), jnp.sum(weight))
        return per_token, weight, {**metrics, "accuracy": share}, carry

    return matched._replace(find=find)


def check_classes(view: View, head: str, hints: tuple[str, ...]) -> None:
    """Raise ObjectiveError unless a head has as many classes as the hints that it predicts.

    An index beyond the head's width would be trained towards another class without a word.
    """
    width = head_output(view.outputs, head).shape[-1]
    for hint in hints:
        classes = view.context.classes.get(hint, width)
        if width != classes:
            raise ObjectiveError(
                f"the head {head!r} tells {width} classes apart, but the hint {hint!r} has "
                f"{classes}: set the model's width of that head to {classes}"
            )
