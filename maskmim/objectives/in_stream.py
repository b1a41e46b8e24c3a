"""An objective on one stream of a network of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from maskmim.config.returned import returned
from maskmim.models.one_stream import stream_view
from maskmim.types import Array, Objective, View


def in_stream(*, stream: str, of: Callable[[], Objective], per_example: bool = False) -> Objective:
    """Take an objective on the hidden tokens of one stream.

    stream:      its name, a key of `Net.grids`.
    of:          brick, () -> Objective, as for a network of this stream alone: its head answers on
                 every token of the stream, f32[B, N_s, V], and the loss counts on hidden ones.
    per_example: average over an example's hidden tokens first, then over the examples that have
                 any; otherwise over all hidden tokens of the batch.
    Returns an Objective with the scale, the hints and the calls of the other. Its `pixels` stand
    under 'streams', see `types.Apply`, where the network has several.
    Raises ModelError for an unknown stream.
    Source: criterion.py of multimae (EPFL-VILAB/MultiMAE), where `nanmean` leaves out examples
    without a hidden token; no gradient passes through their 0 / 0 here.
    """
    objective = returned(of(), Objective, "of.brick", of)

    def narrow(view: View) -> View:
        return stream_view(view, stream, per_example=per_example)

    def find(view: View):
        return objective.find(narrow(view))

    def pixels(view: View) -> dict[str, Any]:
        alone = narrow(view)
        found = {"mask": alone.mask, "inputs": alone.inputs, **objective.pixels(alone)}
        return {"streams": {stream: found}} if len(view.net.grids) > 1 else found

    def shows(view: View) -> dict[str, Array]:
        return objective.shows(narrow(view))

    return objective._replace(
        find=find,
        says=f"{stream}: {objective.says}{', by example' if per_example else ''}",
        pixels=pixels if objective.pixels else None,
        shows=shows if objective.shows else None,
    )
