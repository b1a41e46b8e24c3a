"""The objective of maps of classes: which class every value of a patch has."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config.ranges import NonNegative
from maskmim.losses.classification import cross_entropy
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import head_output
from maskmim.objectives.classification import accuracy
from maskmim.targets.class_maps import classes
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

    def logits_of(view: View, target: Array) -> Array:
        prediction = head_output(view.outputs, head)
        values = target.shape[-1]
        if prediction.shape[-1] % values:
            raise ModelError(
                f"the head {head!r} has {prediction.shape[-1]} values for each token, which are "
                f"not equally many for each of the {values} classes of a patch"
            )
        return prediction.reshape(*target.shape, -1)

    def find(view: View):
        target = classes(view)
        logits = logits_of(view, target)
        known = (target >= 0) & (target < logits.shape[-1])
        count = jnp.sum(known.astype(jnp.float32), axis=-1)

        def mean(values: Array) -> Array:
            return jnp.sum(jnp.where(known, values, 0.0), axis=-1) / jnp.maximum(count, 1)

        weight = view.mask.weight * (count / target.shape[-1])
        per_token = mean(cross_entropy(logits, jnp.where(known, target, 0)))
        right = mean(accuracy(logits, target))
        share = Mean(jnp.sum(right * weight), jnp.sum(weight))
        return per_token, weight, {"accuracy": share}, ()

    def pixels(view: View) -> dict[str, Array]:
        target = classes(view)
        likeliest = jnp.argmax(logits_of(view, target), axis=-1).astype(jnp.int32)
        return {"target": target, "prediction": likeliest, "pixels": likeliest}

    return Objective((), scale, find, "classes, cross-entropy", pixels=pixels)
