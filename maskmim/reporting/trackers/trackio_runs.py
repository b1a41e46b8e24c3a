"""Trackio as a tracker: a local database and dashboard, or a Hugging Face Space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from maskmim.reporting.trackers.tracker import Identity, Tracker, import_tracker


def trackio(
    *,
    project: str = "maskmim",
    name: str = "",
    group: str = "",
    space: str = "",
) -> Tracker:
    """Send metrics and pictures to Trackio; needs the package trackio.

    name:  of the run; '' for that of the work directory. Trackio finds a run by its name, so the
           id of the run stands behind it.
    space: of Hugging Face, as 'user/space'; '' keeps all on this machine, where `trackio show`
           shows it.
    Raises TrackerError where the library is missing.
    """
    library = import_tracker("trackio")
    runs: list[Any] = []

    def start(config: ConfigDict, identity: Identity, resumed: bool) -> None:
        run = library.init(
            project=project,
            name=f"{name or identity.name}-{identity.id}",
            group=group or None,
            space_id=space or None,
            config=config.to_dict(),
            resume="allow" if resumed else "never",
            embed=False,
        )
        runs[:] = [run]

    def write(step: int, numbers: Mapping[str, float]) -> None:
        runs[0].log(dict(numbers), step=step)

    def image(step: int, name: str, picture: np.ndarray) -> None:
        runs[0].log({f"pictures/{name}": library.Image(picture)}, step=step)

    return Tracker(start, write, lambda: runs[0].finish(), image)
