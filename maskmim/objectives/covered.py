"""The objective on the region that a sampler chose to hide whole."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from maskmim.config.ranges import NonNegative
from maskmim.objectives.classification import ObjectiveError
from maskmim.objectives.matching import match
from maskmim.types import Array, Objective, View


def match_covered(
    *,
    head: str,
    target: Callable[[View], Array],
    loss: Callable[[Array, Array], Array],
    scale: NonNegative = 1.0,
) -> Objective:
    """Compare a head's prediction with a target on the predicted tokens of the covered region.

    head, target, loss, scale: as of `match`. The mean is over the tokens that the samplers
    `masks.regions.covered` and `covered_overlapping` mark in `Mask.covered`, with the mask's
    weights; 0 for a batch without any. Nothing is drawn.
    Raises as `match`, and ObjectiveError for a sampler that covers no region.
    Source: FSFM (CVPR 2025), loss_rec_sfr of fsfm-3c/models_fsfm.py, wolo-wolo/FSFM. Difference: a
    batch whose examples all lack the region has no finite loss there.
    """
    of_tokens = match(head=head, target=target, loss=loss, scale=scale)
    return Objective(
        needs=of_tokens.needs,
        scale=scale,
        find=lambda view: of_tokens.find(on_covered(view)),
        says=f"covered region: {of_tokens.says}",
    )


def on_covered(view: View) -> View:
    """Return the view with weight 0 for predicted tokens outside the covered region.

    Raises ObjectiveError where the mask does not say what it covers.
    """
    mask = view.mask
    if mask.covered is None:
        raise ObjectiveError(
            "the objective match_covered needs a sampler that says which region it covered: set "
            "config.mask to maskmim.masks.regions.covered or covered_overlapping, not inside a "
            "mixture, a schedule or one of several streams"
        )
    inside = jnp.take_along_axis(mask.covered, mask.predict, axis=1)
    return view._replace(mask=mask._replace(weight=mask.weight * inside.astype(jnp.float32)))
