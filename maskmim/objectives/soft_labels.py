"""Objectives that learn from labels which may be mixed, of one class or of several at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.config.ranges import NonNegative
from maskmim.losses.classification import binary_cross_entropy, smoothed_cross_entropy
from maskmim.models.calls import call_of
from maskmim.objectives.classification import ObjectiveError
from maskmim.objectives.labels import classes_of, pooled
from maskmim.types import Array, Mean, Objective, View

MOST_GUESSES = 5


def soft_label(
    *,
    labels: str,
    call: str = "classify",
    loss: Callable[[Array, Array], Array] = smoothed_cross_entropy,
    pooling: Literal["mean", "class"] = "mean",
    scale: NonNegative = 1.0,
) -> Objective:
    """Predict the shares of the classes of each example from its visible tokens.

    As `objectives.label`, but the shares may be mixed, as `methods.supervised` mixes them.
    loss: brick, (logits f32[B, 1, classes], shares f32[B, 1, classes]) -> f32[B, 1].
    An example weighs what its shares sum to, after which they are scaled to sum to 1: 0 without a
    label, and the share of the labelled one where it is mixed with one without.
    Metrics: 'accuracy' and, of more than 5 classes, 'top5': how often the class of the largest
    share is the likeliest, or among the 5 likeliest.
    """

    def find(view: View):
        classes = classes_of(view, labels)
        logits = _logits(view, call, pooling)
        if logits.shape[-1] != classes:
            raise ObjectiveError(
                f"calls.{call} tells {logits.shape[-1]} classes apart, but input.labels.{labels} "
                f"has {classes}: set calls.{call}.classes={classes}"
            )
        target, weight = _normalised(_shares(view, labels, classes))
        per_example = loss(logits[:, None], target[:, None])
        wanted = jnp.argmax(target, axis=-1)
        metrics = {"accuracy": _share_right(logits, wanted, weight, 1)}
        if classes > MOST_GUESSES:
            metrics["top5"] = _share_right(logits, wanted, weight, MOST_GUESSES)
        return per_example, weight[:, None], metrics, ()

    says = f"labels {labels} by {call}, {title(loss)}"
    return Objective((), scale, find, says, calls=(call,))


def binary_labels(
    *,
    labels: tuple[str, ...],
    call: str = "classify",
    loss: Callable[[Array, Array], Array] = binary_cross_entropy,
    pooling: Literal["mean", "class"] = "mean",
    scale: NonNegative = 1.0,
) -> Objective:
    """Predict several labels of each example, each of which is there or not, independently.

    labels:  sets of two classes, absent and present, keys of `input.labels`; an example without an
             entry in a set (-1) weighs nothing there, and all that it has elsewhere.
    call:    name of the network's function that gives a logit for each set, such as
             `models.classifiers.linear` with as many classes.
    loss:    brick, (logits f32[B, L], shares f32[B, L]) -> f32[B, L].
    pooling, scale: as of `objectives.label`.
    The loss is the mean over all known entries, with the metric 'accuracy'. `find` raises
    ObjectiveError for a set that `input.labels` lacks or that has not two classes, and for another
    number of logits.
    """

    def find(view: View):
        for name in labels:
            if (classes := classes_of(view, name)) != 2:
                raise ObjectiveError(
                    f"input.labels.{name} has {classes} classes, but binary_labels takes sets of "
                    f"two, absent and present: use objectives.soft_label for {name}"
                )
        logits = _logits(view, call, pooling)
        if logits.shape[-1] != len(labels):
            raise ObjectiveError(
                f"calls.{call} gives {logits.shape[-1]} logits for {len(labels)} sets of labels: "
                f"set calls.{call}.classes={len(labels)}"
            )
        pairs = [_normalised(_shares(view, name, 2)) for name in labels]
        target = jnp.stack([shares[:, 1] for shares, _ in pairs], axis=1)
        weight = jnp.stack([known for _, known in pairs], axis=1)
        right = ((logits > 0) == (target > 0.5)).astype(jnp.float32)
        accuracy = Mean(jnp.sum(right * weight), jnp.sum(weight))
        return loss(logits, target), weight, {"accuracy": accuracy}, ()

    says = f"labels {', '.join(labels)} by {call}, {title(loss)}"
    return Objective((), scale, find, says, calls=(call,))


def hint_of(labels: str) -> str:
    """Return the name of the hint that has the shares of a set of labels."""
    return f"shares/{labels}"


def class_shares(wanted: Array, classes: int) -> Array:
    """Return f32[B, classes], 1 for the class of i32[B]; rows of 0 for -1, no label."""
    return jax.nn.one_hot(wanted, classes, dtype=jnp.float32)


def _shares(view: View, labels: str, classes: int) -> Array:
    """Return the shares of a set, of a hint where there is one, else of the batch's labels."""
    hints = view.context.hints
    if hint_of(labels) in hints:
        return hints[hint_of(labels)]
    return class_shares(view.context.batch["label"][labels], classes)


def _normalised(shares: Array) -> tuple[Array, Array]:
    """Return shares f32[B, C] scaled to sum to 1 and what they summed to f32[B]."""
    weight = jnp.sum(shares, axis=-1)
    return shares / jnp.maximum(weight, 1e-6)[:, None], weight


def _logits(view: View, call: str, pooling: str) -> Array:
    return call_of(view.net, call)(view.params, pooled(view.encoded, pooling))


def _share_right(logits: Array, wanted: Array, weight: Array, guesses: int) -> Mean:
    """Return how often the wanted class is among the likeliest `guesses`."""
    _, likeliest = jax.lax.top_k(logits, guesses)
    right = jnp.any(likeliest == wanted[:, None], axis=-1).astype(jnp.float32)
    return Mean(jnp.sum(right * weight), jnp.sum(weight))
