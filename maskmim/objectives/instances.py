"""The objective that knows a masked example by what a teacher makes of it whole."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.config.ranges import NonNegative
from maskmim.losses.feature import cosine
from maskmim.models.calls import call_of
from maskmim.objectives.pairs import called, check_widths, mean_tokens, spread
from maskmim.types import Array, Objective, View


def represented(view: View) -> Array:
    """Return what the network's function 'representer' makes of a view: f32[B, D].

    Raises ModelError for a network without it; `models.fsfm.vit_fsfm` has it.
    """
    return call_of(view.net, "representer")(view.params, view.encoded, view.mask)


def match_projection(
    *,
    source: Callable[[View], Array] = mean_tokens,
    project: str | None = "projector",
    predict: str | None = "predictor",
    hint: str = "projection",
    scale: NonNegative = 1.0,
) -> Objective:
    """Predict a teacher's features of the example: 2 - 2 cos of the angle between them, 0 to 4.

    source:  brick, view -> f32[B, D], what the masked example is known by: `represented`, or one of
             `objectives.pairs`.
    project, predict: names of functions under config.calls, applied to it one after the other;
             None for neither.
    hint:    of a teacher, f32[B, values]; no gradient passes to it.
    scale:   factor in the sum of objectives.
    An example weighs 1. The metric 'spread' is 0 after a collapse, see `pairs.spread`. It is the
    term of `pairs.cosine_pair` for a method with one view.
    Raises ObjectiveError for features of another width than the hint's.
    Source: BYOL (arXiv 2006.07733); FSFM (CVPR 2025), whose SimSiamLoss of
    fsfm-3c/util/loss_contrastive.py, wolo-wolo/FSFM, is a quarter of this less 0.5.
    """

    def find(view: View):
        predicted = called(view, predict, called(view, project, source(view)))
        target = jax.lax.stop_gradient(view.context.hints[hint])
        check_widths("match_projection", predicted, target, hint)
        loss = 2.0 * cosine(predicted, target)[:, None]
        return loss, jnp.ones_like(loss), {"spread": spread(predicted)}, ()

    return Objective(
        needs=(hint,),
        scale=scale,
        find=find,
        says=f"2 - 2 cos to the hint {hint}, {title(source)}",
        calls=tuple(name for name in (project, predict) if name),
    )
