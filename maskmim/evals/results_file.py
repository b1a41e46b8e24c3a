"""Files of results: no number is lost for results that have none, nor by a kill."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskmim import errors, files
from maskmim.evals.report import as_json
from maskmim.reporting import loss_curve
from maskmim.reporting.metrics_file import flat_metrics


class Unwritten(errors.UserError):
    """Results that could not be written; their table is printed."""


def write_results(
    folder: Path,
    file: str,
    results: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    *,
    pictures: str = "images",
) -> Unwritten | None:
    """Write the results and the loss curve; return the error where the results cannot be written.

    rows: without any there is no curve. It is a picture, which must not end anything.
    pictures: name of their folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_atomic(folder / file, as_json(results))
    except OSError as error:
        problem = Unwritten(
            f"the results could not be written to {folder / file} ({error.strerror or error}); "
            "they are in the table above. python -m maskmim.evaluate --out DIR, or "
            "--out NAME.json, writes elsewhere"
        )
        problem.exit_code = errors.STORAGE if error.errno in errors.NO_ROOM else errors.USAGE
        return problem
    if rows:
        with contextlib.suppress(OSError):
            files.save_png(folder / pictures / "loss.png", loss_curve.draw_loss_curve(rows))
    return None


class Interim:
    """Keeps what an unfinished evaluation has found, in unfinished-<file>.

    An evaluation that is killed leaves that file; one that ends, also with failures, removes it.
    It is a convenience, which must not end anything: what cannot be written is left out.
    """

    def __init__(self, folder: Path, file: str, *, is_writer: bool):
        """Take the place of the results; is_writer: of all processes, the one that writes."""
        self.path, self.is_writer = folder / f"unfinished-{file}", is_writer

    def keep(self, results: Mapping[str, Any]) -> None:
        """Write the results so far, once they have numbers."""
        if self.is_writer and flat_metrics(results):
            with contextlib.suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                files.write_atomic(self.path, as_json(results))

    def remove(self) -> None:
        """Remove the file: its numbers stand in the results."""
        if self.is_writer:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def would_lose_numbers(file: Path, results: Mapping[str, Any]) -> bool:
    """Return whether a file has numbers and the results that would replace it have none."""
    if flat_metrics(results):
        return False
    try:
        return bool(flat_metrics(json.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError):
        return False


def file_of_settings(folder: Path, names: Sequence[str], overrides: Sequence[str]) -> str:
    """Return the name of a file for the results of some evaluations under some overrides.

    results-<names>.json where it is free or has results of the same overrides, and else the first
    of results-<names>-2.json, -3 and so on of which this is true.
    """
    stem = f"results-{'+'.join(names)}"
    files = (f"{stem}.json" if n == 1 else f"{stem}-{n}.json" for n in itertools.count(1))
    return next(file for file in files if _may_replace(folder / file, overrides))


def _may_replace(file: Path, overrides: Sequence[str]) -> bool:
    """Return whether a file is free, or has results of the same overrides."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return stored.get("overrides", []) == list(overrides)
