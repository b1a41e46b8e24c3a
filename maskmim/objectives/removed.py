"""The objective of projected tokens: a prediction and a target compared where P removed them."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from maskmim.config.describe import needs_of, title
from maskmim.config.facts import facts_of
from maskmim.config.ranges import NonNegative
from maskmim.masks.projection import Projection, complement, project
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import head_output
from maskmim.types import Array, Mean, Objective, View


def removed(
    *,
    head: str,
    target: Callable[[View], Array],
    loss: Callable[[Array, Array], Array],
    scale: NonNegative = 1.0,
) -> Objective:
    """Compare (I - P) of a head's predictions with (I - P) of the target, along the tokens.

    head, target, loss, scale: as in `objectives.match`, on every token.
    P is the projection of `Encoded.given`, so that nothing is asked of what the encoder saw.
    Metric 'share': the loss as a share of that of predictions of 0, which is 1 where nothing is
    learnt. A sheet shows each picture, its kept part P x, and P x + (I - P) of the prediction.
    Raises ModelError for a head that the network lacks, for tokens that are not predicted, and for
    an encoder that was given no projection.
    Source: ROPIM (ICLR 2024, arXiv 2310.18737), train_one_epoch of main_ropim.py,
    csiro-robotics/ROPIM: the mean absolute value of (I - P)(prediction - pixels).
    """
    facts = facts_of(target)

    def find(view: View):
        projection = _projection_of(view)
        prediction = head_output(view.outputs, head).astype(jnp.float32)
        wanted = complement(projection, target(view))
        per_token = loss(complement(projection, prediction), wanted)
        weight = view.mask.weight
        nothing = loss(jnp.zeros_like(wanted), wanted)
        share = Mean(jnp.sum(per_token * weight), jnp.sum(nothing * weight))
        return per_token, weight, {"share": share}, ()

    def shows(view: View) -> dict[str, Array]:
        projection, net = _projection_of(view), view.net
        kept = project(projection, net.patchify(view.inputs))
        prediction = facts.pixels(view, head_output(view.outputs, head))
        restored = kept + complement(projection, prediction)
        return {
            "picture": net.display(view.inputs),
            "kept": net.display(net.restore(kept)),
            "restored": net.display(net.restore(restored)),
        }

    return Objective(
        needs=needs_of(target),
        scale=scale,
        find=find,
        says=f"removed part of {title(target)}, {title(loss)}",
        shows=shows if facts.pixels else None,
    )


def _projection_of(view: View) -> Projection:
    """Return the projection under which a view was encoded; raise ModelError without one."""
    if "projection" not in view.encoded.given:
        raise ModelError(
            "the objective `removed` needs the projection of the tokens, which the encoder was not "
            "given: use the method maskmim.methods.projected.projected"
        )
    predicted, length = view.mask.predict.shape[1], view.mask.hidden.shape[1]
    if predicted != length:
        raise ModelError(
            f"the objective `removed` needs predictions of all {length} tokens, but the mask "
            f"predicts {predicted}: use maskmim.masks.roles.everything"
        )
    return view.encoded.given["projection"]
