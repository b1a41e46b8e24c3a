"""A run that is lengthened by the argument of its config, as by --config.train.epochs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from maskmim.checkpoints.reader import stored_steps
from maskmim.checkpoints.workdir import load_config
from maskmim.runtime import processes

TIED = "warmup_epochs"


def keep_warmup(config: ConfigDict, workdir: Path, overrides: Sequence[str]) -> ConfigDict:
    """Return the config, with the warm-up that the run in the folder began with.

    `folder:PATH,epochs=4` sets the warm-up too, as a share of the epochs; where a run of
    another length is there, only its length is meant to change. Prints a line where it does so.
    overrides: of the command line; a warm-up that is set there, or another schedule, is kept.
    """
    if any(text.startswith("schedule.") for text in overrides):
        return config
    if not stored_steps(workdir / "checkpoints"):
        return config
    old, new = load_config(workdir), config
    same_schedule = old.schedule.get("brick") == new.schedule.get("brick")
    if not same_schedule or TIED not in old.schedule or TIED not in new.schedule:
        return config
    warmup = old.schedule[TIED]
    if old.train.epochs == new.train.epochs or warmup == new.schedule[TIED]:
        return config
    kept = new.copy_and_resolve_references()
    kept.schedule[TIED] = warmup
    processes.print_once(
        f"the warm-up stays {warmup:g} epochs, as this run began; a new run of "
        f"{new.train.epochs:g} epochs would have {new.schedule[TIED]:g}"
    )
    return kept.lock()
