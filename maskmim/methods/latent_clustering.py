"""Masked prediction of clusters that are found, as training goes, in an average's tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from maskmim.masks.roles import all_predicted
from maskmim.methods.masked import MethodError, masked
from maskmim.types import (
    Array,
    Batch,
    Context,
    Encoded,
    Mask,
    Method,
    Net,
    Objective,
    Randomness,
    Spec,
    Teacher,
    Tree,
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
) -> Method:
    """`method.masked` with two teachers, of which the second one, the clusters, is trained.

    model, mask, objectives: as `method.masked`.
    average:  brick, () -> Teacher whose variables are averaged params (`teachers.average`); gives
              'features'.
    clusters: brick, () -> Teacher that reads these (`clustering.prototypes`).

    What the clusters keep is part of the params, as 'clusters', and objectives find it in
    `View.extra`: the one that fits them gets its gradients through it and sends none to the
    encoders, as hints pass none; the others learn from hints and send none to the clusters.
    'encode' answers with the averaged encoder, whose features the published results are of.
    Sheets are drawn with every token predicted.
    Raises MethodError where the average gives no 'features'.
    Source: CAPI (arXiv 2502.08769), train_capi.py of facebookresearch/capi.
    """
    if "features" not in average().gives:
        raise MethodError(
            f"the clusters need the hint 'features', but the average gives {average().gives}: use "
            "maskmim.teachers.features.last_tokens as average.find"
        )
    teachers = {"average": average, "clusters": clusters}
    compose = partial(masked, spec, model=model, objectives=objectives, teachers=teachers)
    inner = compose(mask=mask)
    whole = compose(mask=partial(all_predicted, sampler=mask))

    def init(key: Array) -> tuple[Tree, Tree]:
        params, extra = inner.init(key)
        return {**params, "clusters": extra["clusters"]}, {"average": extra["average"]}

    def refresh(variables: Variables, carry: Tree, progress: Array) -> Tree:
        return {"average": inner.refresh(within(variables), carry, progress)["average"]}

    def encode(variables: Variables, batch: Batch, **options: Any) -> Encoded:
        averaged = {**variables.params, **variables.extra["average"]}
        return inner.apply["encode"](variables._replace(params=averaged), batch, **options)

    apply = {name: partial(_moved, function) for name, function in inner.apply.items()}
    return inner._replace(
        init=init,
        loss=partial(_moved, inner.loss),
        refresh=refresh,
        apply={**apply, "encode": encode},
        sheets={name: partial(_moved, draw) for name, draw in whole.sheets.items()},
    )


def within(variables: Variables) -> Variables:
    """The variables as the inner method has them: the clusters among what teachers keep."""
    params = dict(variables.params)
    extra = {**variables.extra, "clusters": params.pop("clusters")}
    return Variables(params, extra, variables.frozen)


def _moved(function: Callable, variables: Variables, *given: Any, **options: Any) -> Any:
    return function(within(variables), *given, **options)
