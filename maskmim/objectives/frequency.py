"""Objectives of whole pictures in the Fourier domain."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import Fraction, NonNegative, PositiveInt
from maskmim.losses.spectra import focal_frequency
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import head_output
from maskmim.types import Array, Objective, View


def batch_frequency(
    *,
    head: str,
    scale: NonNegative = 1.0,
    visible: Fraction = 0.0,
    pictures: PositiveInt = 256,
) -> Objective:
    """Compare the spectra of mean predicted and mean true pictures, by `losses.focal_frequency`.

    head:     name of a head that predicts the pixels of every token.
    scale:    factor in the sum of objectives.
    visible:  share that predictions of visible tokens have; the other share has the mean of
              prediction and truth, without a gradient.
    pictures: of which the mean is taken: the largest number up to this that divides the batch.

    Spectra are averaged over pictures before they are compared, as officially over those of a
    device, so that errors that differ between pictures cancel, and the loss falls with their
    number. Means are taken over examples that follow each other in the batch, on any mesh;
    micro-batches have means of their own.
    Raises ModelError for a head that the network lacks, for tokens that are not predicted, and for
    a network whose tokens are no parts of a picture.
    Source: A2MIM (arXiv 2205.13943), A2MIMHead of openmixup/models/heads/mim_head.py
    with fft_focal (ave_spectrum, log_matrix, batch_matrix) and fft_unmask_replace='mixed',
    Westlake-AI/openmixup.
    """

    def find(view: View):
        prediction = head_output(view.outputs, head).astype(jnp.float32)
        _check(view, prediction)
        truth = view.net.patchify(view.inputs).astype(jnp.float32)
        stand_in = 0.5 * (jax.lax.stop_gradient(prediction) + truth)
        share = jnp.where(view.mask.hidden, 1.0, visible)[..., None]
        mixed = prediction * share + stand_in * (1 - share)
        means = [consecutive_means(view.net.restore(each), pictures) for each in (mixed, truth)]
        loss = focal_frequency(*means)
        return loss, jnp.ones_like(loss), {}, ()

    says = f"focal frequency of means of {pictures} pictures"
    return Objective(needs=(), scale=scale, find=find, says=says)


def consecutive_means(values: Array, most: int) -> Array:
    """Return the means of examples [B, ...] that follow each other: [groups, ...].

    A group has the largest number of examples up to `most` that divides the batch.
    """
    examples = len(values)
    size = next(count for count in range(min(most, examples), 0, -1) if examples % count == 0)
    return values.reshape(examples // size, size, *values.shape[1:]).mean(axis=1)


def _check(view: View, prediction: Array) -> None:
    """Raise ModelError where predictions are not those of a whole picture."""
    predicted, length = prediction.shape[1], view.mask.hidden.shape[1]
    if predicted != length:
        raise ModelError(
            f"batch_frequency needs predictions of all {length} tokens, but the mask predicts "
            f"{predicted}: wrap the sampler in maskmim.masks.roles.hidden_weighted"
        )
    if view.net.restore is None:
        raise ModelError(
            "batch_frequency needs whole pictures, but the tokens of this network are no parts of "
            "one (Net.restore is None): leave the objective out"
        )
