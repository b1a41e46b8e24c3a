"""The values of another target, each patch with mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Callable

from maskmim.config import facts
from maskmim.config.facts import bound_keywords, facts_of
from maskmim.config.ranges import Positive
from maskmim.targets.pixels import EPSILON, patch_statistics
from maskmim.types import Array, View


def draw_standardised(
    view: View, prediction: Array, *, target: Callable[[View], Array], epsilon: float = EPSILON
) -> dict[str, Array]:
    """Draw the other target's pictures of a prediction with the true mean and deviation.

    {} where the other target has none.
    """
    shows = facts_of(target).shows
    if shows is None:
        return {}
    mean, deviation = patch_statistics(target(view), epsilon=epsilon)
    return shows(view, prediction * deviation + mean, **bound_keywords(target))


@facts.target(shows=draw_standardised)
def standardised(
    view: View, *, target: Callable[[View], Array], epsilon: Positive = EPSILON
) -> Array:
    """Return another target's values, each predicted token with mean 0 and variance 1.

    target: brick, view -> f32[B, P, V], whose prediction can be drawn (`Facts.shows`).
    Returns f32[B, P, V] = (x - mean) / sqrt(variance + epsilon), the variance unbiased, as
    `pixels.normalised_patches` does with pixels. Where all values are equal the result is 0.
    Source: norm_pix_loss of FG-MAE (arXiv 2310.18653), forward_loss of models_mae_2.py.
    """
    values = target(view)
    mean, deviation = patch_statistics(values, epsilon=epsilon)
    return (values - mean) / deviation
