"""The work directory of a run: its config, and what may change when the run is continued."""

from __future__ import annotations

import os
from pathlib import Path

from ml_collections import ConfigDict

from maskmim.configuration import ConfigError, differences, from_json, to_json

# What may differ between the command that began a run and the one that continues it.
FREE = (
    "mesh",
    "log",
    "checkpoint",
    "evals",
    "data.workers",
    "data.threads",
    "data.max_bad_share",
    "train.epochs",
    "train.micro_batches",
    "train.max_bad_steps",
)


def write_atomic(path: Path, text: str) -> None:
    """Writes a text file in one move, so that a reader or a crash never meets half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def save_config(workdir: Path, config: ConfigDict, *, begun: bool, write: bool = True) -> None:
    """Writes config.json, after checking that it continues the run that is there.

    begun: whether there is a checkpoint; without one nothing is lost by another config.
    write: False for all processes but one, which check only.
    Raises ConfigError listing what differs, where that would change the results of the run.
    """
    path = workdir / "config.json"
    if begun and path.exists():
        check_continues(from_json(path.read_text(encoding="utf-8")), config, workdir)
    if write:
        write_atomic(path, to_json(config))


def check_continues(old: ConfigDict, new: ConfigDict, workdir: Path) -> None:
    """ConfigError unless `new` differs from `old` in the free sections only."""
    changed = [line for line in differences(old, new) if not _is_free(line.partition(":")[0])]
    if changed:
        listed = "\n  ".join(changed)
        raise ConfigError(
            f"{workdir} holds a run with another config:\n  {listed}\n"
            "Use the same values to continue it, or another --workdir to begin a new run"
        )


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def load_config(workdir: Path) -> ConfigDict:
    """The config of a run; ConfigError where there is none."""
    path = workdir / "config.json"
    if not path.exists():
        raise ConfigError(
            f"{workdir} holds no run (config.json is missing): give the --workdir of a training"
        )
    return from_json(path.read_text(encoding="utf-8")).lock()
