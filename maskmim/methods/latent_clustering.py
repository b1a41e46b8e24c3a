"""Masked prediction of clusters, which are trained on the tokens of an EMA of the encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from maskmim.config.returned import returned
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
    """Compose `methods.masked` with two teachers, the second of which, the clusters, is trained.

    model, mask, objectives: as `methods.masked`.
    average:  brick, () -> Teacher whose variables are averaged params (`teachers.average`); gives
              'features'.
    clusters: brick, () -> Teacher that reads these (`teachers.clusters.prototypes`).

    The arrays of the clusters are trained as params['clusters'], and objectives read them in
    `View.extra`. The objective that fits the clusters sends gradients to them and, since hints pass
    none, not to the encoders; the other objectives learn from hints and send none to the clusters.
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
    teachers = {"average": average, "clusters": clusters}
    compose = partial(masked, spec, model=model, objectives=objectives, teachers=teachers)
    inner = compose(mask=mask)
    all_tokens = compose(mask=partial(all_predicted, sampler=mask))

    def init(key: Array) -> tuple[Tree, Tree]:
        params, extra = inner.init(key)
        return {**params, "clusters": extra["clusters"]}, {"average": extra["average"]}

    def refresh(variables: Variables, carry: Tree, progress: Array) -> Tree:
        return {"average": inner.refresh(inner_variables(variables), carry, progress)["average"]}

    def encode(variables: Variables, batch: Batch, **options: Any) -> Encoded:
        averaged = {**variables.params, **variables.extra["average"]}
        return inner.apply["encode"](variables._replace(params=averaged), batch, **options)

    apply: Any = {name: partial(_adapted, function) for name, function in inner.apply.items()}
    return inner._replace(
        init=init,
        loss=partial(_adapted, inner.loss),
        refresh=refresh,
        apply={**apply, "encode": encode},
        sheets={name: partial(_adapted, draw) for name, draw in all_tokens.sheets.items()},
    )


def inner_variables(variables: Variables) -> Variables:
    """Return the variables of the inner method, which has the clusters in `extra`."""
    params = dict(variables.params)
    extra = {**variables.extra, "clusters": params.pop("clusters")}
    return Variables(params, extra, variables.frozen)


def _adapted(function: Callable, variables: Variables, *arguments: Any, **options: Any) -> Any:
    """Call a function of the inner method with the variables of the outer one."""
    return function(inner_variables(variables), *arguments, **options)
