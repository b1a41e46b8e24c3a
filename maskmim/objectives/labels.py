"""The objective that learns from the labels of examples."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.config.ranges import NonNegative
from maskmim.losses.classification import cross_entropy
from maskmim.models.calls import call_of
from maskmim.objectives.classification import ObjectiveError, accuracy
from maskmim.types import Array, Encoded, Mean, Objective, View


def label(
    *,
    labels: str,
    call: str = "classify",
    loss: Callable[[Array, Array], Array] = cross_entropy,
    pooling: Literal["mean", "class"] = "mean",
    scale: NonNegative = 1.0,
) -> Objective:
    """Predict the label of each example from its visible tokens.

    labels:  the set of labels, a key of `input.labels`; the batch has its classes i32[B], -1 for
             an example without a label, which weighs nothing.
    call:    name of the network's function that gives logits of pooled features, a brick
             `config.calls.<call>` such as `models.classifiers.linear`.
    loss:    brick, (logits f32[B, 1, classes], classes i32[B, 1]) -> f32[B, 1].
    pooling: of the encoder's output, 'mean' of the visible tokens without the prefix, or 'class',
             the first prefix token.
    scale:   factor in the sum of objectives.

    The loss is the mean over labelled examples, with the metric 'accuracy'. `find` raises
    ObjectiveError for a set that `input.labels` lacks, for logits of another number of classes, and
    for the pooling 'class' of a model without a class token.
    For supervised training alone use the sampler `masks.roles.everything`, which hides nothing, and
    a model without a decoder, `models.encoder_only.vit_encoder`.
    """

    def find(view: View):
        classes = classes_of(view, labels)
        features = pooled(view.encoded, pooling)
        logits = call_of(view.net, call)(view.params, features)[:, None]
        if logits.shape[-1] != classes:
            raise ObjectiveError(
                f"calls.{call} tells {logits.shape[-1]} classes apart, but input.labels.{labels} "
                f"has {classes}: set calls.{call}.classes={classes}"
            )
        wanted = view.context.batch["label"][labels].astype(jnp.int32)[:, None]
        weight = (wanted >= 0).astype(jnp.float32)
        known = jnp.clip(wanted, 0, classes - 1)
        per_example = loss(logits, known)
        right = accuracy(logits, known)
        share = Mean(jnp.sum(right * weight), jnp.sum(weight))
        return per_example, weight, {"accuracy": share}, ()

    says = f"labels {labels} by {call}, {title(loss)}"
    return Objective((), scale, find, says, calls=(call,))


def classes_of(view: View, labels: str) -> int:
    """Return the number of classes of a set of labels; raise ObjectiveError for an unknown set."""
    declared = view.context.labels
    if labels not in declared:
        there = ", ".join(f"{name} ({count} classes)" for name, count in declared.items())
        near = difflib.get_close_matches(labels, declared, 1, 0.6)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ObjectiveError(
            f"the labels {labels!r} are not declared; {hint}input.labels has {there or 'none'}"
            f"{'; to declare them' if near else ':'} set --config.input.labels.{labels}=CLASSES"
        )
    return declared[labels]


def pooled(encoded: Encoded, pooling: str) -> Array:
    """Return one vector for each example: f32[B, D]."""
    if pooling == "mean":
        return jnp.mean(encoded.tokens.astype(jnp.float32), axis=1)
    if not encoded.prefix.shape[1]:
        raise ObjectiveError(
            "the pooling 'class' needs a class token, and the model has none: use pooling 'mean', "
            "or set model.class_token=True"
        )
    return encoded.prefix[:, 0].astype(jnp.float32)
