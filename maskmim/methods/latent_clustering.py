"""Masked prediction of clusters, which are trained on the tokens of an EMA of the encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from maskmim.config.returned import returned
from maskmim.masks.roles import all_predicted
from maskmim.methods.masked import MethodError, masked
from maskmim.types import (
    Batch,
    Context,
    Encoded,
    LearnedFunction,
    Mask,
    Method,
    Net,
    Objective,
    Randomness,
    Spec,
    Teacher,
    Variables,
)


def latent_clustering(
    spec: Spec,
    *,
    model: Callable[[Spec], Net],
    mask: Callable[[Randomness, Context], Mask],
    objectives: Mapping[str, Callable[[], Objective]],
    average: Callable[[], Teacher],
    clusters: Callable[[], Teacher],
    calls: Mapping[str, Callable[[int], LearnedFunction]],
) -> Method:
    """Compose `methods.masked` with an averaged encoder and with clusters of its tokens.

    model, mask, objectives, calls: as `methods.masked`; one of `calls` has the prototypes
              (`models.prototypes`).
    average:  brick, () -> Teacher whose variables are averaged params (`teachers.average`); gives
              'features'.
    clusters: brick, () -> Teacher that assigns these to prototypes (`teachers.clusters.balanced`).

    The objective that fits the prototypes sends gradients to them and, since hints pass none, not
    to the encoders; the other objectives learn from hints and send none to the prototypes.
    'encode' uses the averaged encoder, as the published results do. Sheets are drawn with every
    token predicted.
    Raises MethodError where the average gives no 'features'.
    Source: CAPI (arXiv 2502.08769), train_capi.py of facebookresearch/capi.
    """
    gives = returned(average(), Teacher, "average.brick", average).gives
    returned(clusters(), Teacher, "clusters.brick", clusters)
    if "features" not in gives:
        raise MethodError(
            f"the clusters need the hint 'features', but the average gives {gives}: set "
            "average.find to maskmim.teachers.features.last_tokens"
        )
    compose = partial(
        masked,
        spec,
        model=model,
        objectives=objectives,
        teachers={"average": average, "clusters": clusters},
        calls=calls,
    )
    method = compose(mask=mask)
    student = method.apply["encode"]

    def encode(variables: Variables, batch: Batch, **options: Any) -> Encoded:
        averaged = {**variables.params, **variables.extra["average"]}
        return student(variables._replace(params=averaged), batch, **options)

    all_tokens = compose(mask=partial(all_predicted, sampler=mask))
    return method._replace(
        apply={**method.apply, "encode": encode, "encode_student": student},
        sheets=all_tokens.sheets,
    )
