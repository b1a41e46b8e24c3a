"""Objectives of maps of classes: which class every value of a patch has."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config.ranges import NonNegative, NonNegativeInt
from maskmim.losses.classification import cross_entropy
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import head_output
from maskmim.objectives.classification import accuracy
from maskmim.reporting.palette import palette
from maskmim.targets.class_maps import classes, of_field
from maskmim.types import Array, Mean, Objective, View


def classify_map(*, head: str, scale: NonNegative = 1.0) -> Objective:
    """Compare a head's logits with the classes of every value of the predicted patches.

    head:  name of a head f32[B, P, V * K] of K classes, in the order value, class.
    scale: factor in the sum of objectives.
    The loss of a token is the mean cross-entropy of its values of a class, in float32. A value
    beyond the K classes is of none and has the weight 0: the weight of a token is multiplied by the
    share of its values that count. Metric 'accuracy': the share of values whose likeliest class is
    right, weighted as the loss. Pictures show the likeliest classes.
    Raises ModelError for a head that the network lacks or whose width is no multiple of V, and
    ClassMapError where inputs are no classes.
    Source: MaskedCrossEntropyLoss of multimae/criterion.py (EPFL-VILAB/MultiMAE), which has no
    values of no class.
    """

    def find(view: View):
        return _compared(view, head, classes(view))

    def pixels(view: View) -> dict[str, Array]:
        target = classes(view)
        likeliest = _likeliest(_logits(view, head, target))
        return {"target": target, "prediction": likeliest, "pixels": likeliest}

    return Objective((), scale, find, "classes, cross-entropy", pixels=pixels)


def classify_field(
    *, head: str, field: str, void: NonNegativeInt | None = None, scale: NonNegative = 1.0
) -> Objective:
    """Compare a head's logits with a map of classes that stands beside the picture.

    head:  as of `classify_map`. field: of `input.fields`, indices of the picture's size.
    void:  the index of pixels of no class, None for none; those beyond the classes are of none too.
    Loss and metric are those of `classify_map`. A sheet shows pictures beside truth and prediction.
    Raises also ClassMapError for a field that is missing or no such map.
    """

    def find(view: View):
        return _compared(view, head, of_field(view, field=field, void=void))

    def shows(view: View) -> dict[str, Array]:
        target = of_field(view, field=field, void=void)
        logits = _logits(view, head, target)
        known = (target >= 0) & (target < logits.shape[-1])
        painted = {
            "truth": jnp.where(known[..., None], palette(target + 1), jnp.uint8(0)),
            "prediction": palette(_likeliest(logits) + 1),
        }
        pictures = {name: _restored(view, colours) for name, colours in painted.items()}
        return {"picture": view.net.display(view.inputs), **pictures}

    return Objective((), scale, find, f"classes of {field}, cross-entropy", shows=shows)


def _restored(view: View, colours: Array) -> Array:
    """Return the picture of u8[B, P, V, 3], colours of every pixel of the predicted patches."""
    parts = [view.net.restore(colours[..., channel]) for channel in range(colours.shape[-1])]
    return jnp.concatenate(parts, axis=-1)


def _compared(view: View, head: str, target: Array) -> tuple[Array, Array, dict[str, Mean], tuple]:
    """Return what `Objective.find` returns, of a target i32[B, P, V]."""
    logits = _logits(view, head, target)
    known = (target >= 0) & (target < logits.shape[-1])
    count = jnp.sum(known.astype(jnp.float32), axis=-1)

    def mean(values: Array) -> Array:
        return jnp.sum(jnp.where(known, values, 0.0), axis=-1) / jnp.maximum(count, 1)

    weight = view.mask.weight * (count / target.shape[-1])
    per_token = mean(cross_entropy(logits, jnp.where(known, target, 0)))
    right = mean(accuracy(logits, target))
    share = Mean(jnp.sum(right * weight), jnp.sum(weight))
    return per_token, weight, {"accuracy": share}, ()


def _logits(view: View, head: str, target: Array) -> Array:
    """Return the logits f32[B, P, V, K] of a head."""
    prediction = head_output(view.outputs, head)
    values = target.shape[-1]
    if prediction.shape[-1] % values:
        raise ModelError(
            f"the head {head!r} has {prediction.shape[-1]} values for each token, which are "
            f"not equally many for each of the {values} classes of a patch"
        )
    return prediction.reshape(*target.shape, -1)


def _likeliest(logits: Array) -> Array:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
