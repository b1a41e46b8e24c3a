"""The objective of groups of bands: every band of the hidden tokens of each group."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from maskmim.config.ranges import NonNegative, NonNegativeInt
from maskmim.losses.regression import squared_error
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import head_output
from maskmim.models.one_stream import stream_mask, stream_view
from maskmim.types import Array, Objective, View

Groups = Mapping[str, tuple[NonNegativeInt, ...]]


def band_groups(
    *, groups: Groups, predicted: Groups | None = None, scale: NonNegative = 1.0
) -> Objective:
    """Compare the bands of groups with their predictions, on the hidden tokens of each group.

    groups:    {stream: the bands that it holds, in the order of its channels}.
    predicted: {stream: the bands that the head of its name predicts, one for each channel of the
               stream}; None for its own.
    The loss of a token is the mean squared error of its group's bands; of a band that another
    group's head predicts, that head's output at the same place counts. The mean is over the hidden
    tokens of all groups together.
    Heads are f32[B, N_g, V] on all tokens of their group, values in row, column, band order.
    Raises ModelError where `predicted` does not have every band of the groups once.
    Source: forward_loss of models_mae_group_channels.py, sustainlab-group/SatMAE. Its predictions
    stand group after group, its targets in the order of the file, so that a head predicts other
    bands than its group has where the groups are not in this order: `file_order`.
    """
    predicted = groups if predicted is None else predicted
    check_predicted(groups, predicted)

    def find(view: View):
        target = bands_of(view.net.patchify(view.inputs), groups)
        heads = {name: head_output(view.outputs, name) for name in groups}
        prediction = bands_of(heads, predicted)
        errors, weights = [], []
        for name, chosen in groups.items():
            errors.append(squared_error(together(prediction, chosen), together(target, chosen)))
            weights.append(stream_mask(view.mask, view.net.grids, name).weight)
        return jnp.concatenate(errors, axis=1), jnp.concatenate(weights, axis=1), {}, ()

    def pixels(view: View) -> dict[str, dict[str, dict[str, object]]]:
        heads = {name: head_output(view.outputs, name) for name in groups}
        prediction, shown = bands_of(heads, predicted), {}
        for name, chosen in groups.items():
            alone, values = stream_view(view, name), together(prediction, chosen)
            target = alone.net.patchify(alone.inputs)
            shown[name] = {"mask": alone.mask, "inputs": alone.inputs, "target": target}
            shown[name] |= {"prediction": values, "pixels": values}
        return {"streams": shown}

    words = ", ".join(f"{name} {' '.join(map(str, chosen))}" for name, chosen in groups.items())
    return Objective((), scale, find, f"bands of {words}, squared error", pixels=pixels)


def file_order(groups: Groups) -> dict[str, tuple[int, ...]]:
    """Return which bands the heads predict in the released code: those of the file, in order.

    The first head predicts as many of the first bands as its group has, and so on.
    """
    bands = iter(sorted(band for chosen in groups.values() for band in chosen))
    return {name: tuple(next(bands) for _ in chosen) for name, chosen in groups.items()}


def check_predicted(groups: Groups, predicted: Groups) -> None:
    """Raise ModelError unless the heads predict each band of the groups once."""
    wanted, given = (
        sorted(band for chosen in each.values() for band in chosen) for each in (groups, predicted)
    )
    lengths = {name: len(chosen) for name, chosen in groups.items()}
    if wanted != given or lengths != {name: len(chosen) for name, chosen in predicted.items()}:
        raise ModelError(
            f"the heads predict the bands {dict(predicted)}, but the groups are {dict(groups)}: "
            "give each head as many bands as its group has, and every band once"
        )


def bands_of(tokens: Mapping[str, Array], groups: Groups) -> dict[int, Array]:
    """Return {band: f32[B, N, values of a patch]} of tokens [B, N, V] by group."""
    bands = {}
    for name, chosen in groups.items():
        values = tokens[name].astype(jnp.float32)
        values = values.reshape(*values.shape[:2], -1, len(chosen))
        bands |= {band: values[..., channel] for channel, band in enumerate(chosen)}
    return bands


def together(bands: Mapping[int, Array], chosen: tuple[int, ...]) -> Array:
    """Return tokens f32[B, N, V] of some bands, values in row, column, band order."""
    stacked = jnp.stack([bands[band] for band in chosen], axis=-1)
    return stacked.reshape(*stacked.shape[:2], -1)
