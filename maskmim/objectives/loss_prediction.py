"""Objectives that train a function to predict each token's loss under another objective (HPM).

`relative` predicts which of two tokens has the higher loss, `absolute` how high it is.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.config.describe import needs_of, title
from maskmim.config.ranges import NonNegative
from maskmim.losses.regression import squared_error
from maskmim.models.calls import call_of
from maskmim.targets.pixels import patch_statistics
from maskmim.types import Array, Mean, Objective, View

# Added to a probability before its logarithm, and to a variance (forward_learning_loss).
EPSILON = 1e-6


def relative(
    *, call: str = "loss", of: Callable[[], Objective], scale: NonNegative = 1.0
) -> Objective:
    """Predict which of two tokens has the higher loss: cross-entropy over an example's pairs.

    call:  name of the network's function that predicts losses: (params, Encoded, mask) ->
           f32[B, P, 1].
    of:    brick, () -> Objective, whose losses are predicted: the objective that is trained.
    scale: factor in the sum of objectives.
    Tokens of equal loss form no pair. The average is over all pairs of the batch, so a token weighs
    as much as its pairs. No gradient reaches the true losses. The metric 'ordered' is the share of
    pairs in the right order, 0.5 by chance. With micro-batches the pairs are counted first, which
    costs another forward pass.
    Source: HPM (arXiv 2304.05919), forward_learning_loss of models_mae_learn_loss.py,
    Haochen-Wang409/HPM.
    """

    def find(view: View):
        prediction = predicted_losses(view, call)[..., 0]
        loss, right, pairs = compare_pairs(prediction, true_losses(view, of=of))
        pairs = pairs * view.mask.weight[:, None]
        count = jnp.sum(pairs, axis=-1)
        per_token = jnp.sum(loss * pairs, axis=-1) / jnp.where(count > 0, count, 1.0)
        weight = view.mask.weight * count
        ordered = jnp.sum(right * pairs, axis=-1) * view.mask.weight
        metrics = {"ordered": Mean(jnp.sum(ordered), jnp.sum(weight))}
        return per_token, weight, metrics, ()

    says, read = f"order of the losses of {title(of)}", of()
    calls, captures = (call, *read.calls), read.captures
    return Objective(needs_of(of), scale, find, says, calls=calls, captures=captures)


def predicted_losses(view: View, call: str) -> Array:
    """Return the losses that a function of the network predicts: f32[B, P, 1]."""
    predicted = call_of(view.net, call)(view.params, view.encoded, view.mask)
    return predicted.astype(jnp.float32)


def compare_pairs(prediction: Array, truth: Array) -> tuple[Array, Array, Array]:
    """Compare every token with every other: f32[B, P] -> f32[B, P, P] loss, is right, is a pair.

    The loss is -log(p + EPSILON) where p, a sigmoid of the difference of the predictions, is the
    probability of the true order. All three results are symmetric; equal truths form no pair.
    """
    sign = jnp.sign(truth[:, :, None] - truth[:, None, :])
    # XLA may compute `truth` twice, for rows and for columns, and round each differently.
    sign = sign * (1 - jnp.eye(truth.shape[1], dtype=jnp.float32))[None]
    lead = sign * (prediction[:, :, None] - prediction[:, None, :])
    loss = -jnp.log(jax.nn.sigmoid(lead) + EPSILON)
    return loss, (lead > 0).astype(jnp.float32), jnp.abs(sign)


def absolute(
    *, call: str = "loss", of: Callable[[], Objective], scale: NonNegative = 1.0
) -> Objective:
    """Predict how high a token's loss is among those of its example, by squared error.

    Arguments as `relative`; the target is `standardised_losses`.
    Source: as `relative`; the paper finds the relative objective better.
    """

    def find(view: View):
        target = standardised_losses(view, of=of)
        per_token = squared_error(predicted_losses(view, call), target)
        return per_token, view.mask.weight, {}, ()

    says, read = f"losses of {title(of)}, {title(squared_error)}", of()
    calls, captures = (call, *read.calls), read.captures
    return Objective(needs_of(of), scale, find, says, calls=calls, captures=captures)


def standardised_losses(view: View, *, of: Callable[[], Objective]) -> Array:
    """Return `true_losses` with mean 0 and variance 1 over the predicted tokens of an example.

    Returns f32[B, P, 1] = (loss - mean) / sqrt(variance + EPSILON), the variance unbiased.
    """
    losses = true_losses(view, of=of)
    mean, deviation = patch_statistics(losses, epsilon=EPSILON)
    return ((losses - mean) / deviation)[..., None]


def true_losses(view: View, *, of: Callable[[], Objective]) -> Array:
    """Return each predicted token's loss under another objective: f32[B, P], without gradient.

    The compiler merges this with the same computation in that objective.
    """
    per_token, *_ = of().find(view)
    return jax.lax.stop_gradient(per_token.astype(jnp.float32))
