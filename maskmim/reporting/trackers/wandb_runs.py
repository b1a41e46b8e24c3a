"""Weights & Biases as a tracker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Literal

import numpy as np
from ml_collections import ConfigDict

from maskmim.errors import first_line
from maskmim.reporting.trackers.tracker import Identity, Tracker, TrackerError, import_tracker

OFFLINE = ("offline", "disabled", "dryrun")


def wandb(
    *,
    project: str = "maskmim",
    entity: str = "",
    name: str = "",
    group: str = "",
    tags: tuple[str, ...] = (),
    mode: Literal["", "online", "offline"] = "",
) -> Tracker:
    """Send metrics and pictures to Weights & Biases; needs the extra maskmim[wandb].

    entity: team or user; '' for the account's own. name: of the run; '' for the work directory's.
    mode:   '' for what WANDB_MODE says, or online. Offline files lie in WORKDIR/wandb, and
            `wandb sync` sends them.
    The key is that of `wandb login` or WANDB_API_KEY, never one in the config.
    Raises TrackerError where the library or, online, a key is missing.
    """
    library = import_tracker("wandb")
    if (mode or os.environ.get("WANDB_MODE", "")) not in OFFLINE:
        _log_in(library)
    run = _Run(library)

    def start(config: ConfigDict, identity: Identity, resumed: bool) -> None:
        run.open = library.init(
            project=project,
            entity=entity or None,
            name=name or identity.name,
            group=group or None,
            tags=tags or None,
            mode=mode or None,
            id=identity.id,
            resume="allow" if resumed else None,
            config=config.to_dict(),
            dir=str(identity.workdir),
            # Wrapped streams would see the progress bar as thousands of lines.
            settings=library.Settings(console="off", quiet=True),
        )

    return Tracker(start, run.write, lambda: run.open.finish(), run.image)


def _log_in(library: ModuleType) -> None:
    """Find the key, which may ask for it on a terminal; the network is not used.

    Raises TrackerError where there is none.
    """
    try:
        library.login(verify=False)
    except Exception as error:
        raise TrackerError(
            f"log.trackers: wandb has no key ({first_line(error)}): run `wandb login` once, set "
            "WANDB_API_KEY, or give this tracker mode='offline'"
        ) from error


class _Run:
    """An open run of wandb, whose history takes ascending steps only."""

    def __init__(self, library: ModuleType):
        self.open: Any = None
        self._library = library

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add numbers to a step, or to the summary where the history is past that step."""
        if step < self.open.step:
            self.open.summary.update(dict(numbers))
        else:
            self.open.log(dict(numbers), step=step)

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """Add a picture to a step, or leave it out where the history is past that step."""
        if step >= self.open.step:
            self.open.log({f"pictures/{name}": self._library.Image(picture)}, step=step)
