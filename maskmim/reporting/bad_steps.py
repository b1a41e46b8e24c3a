"""Steps whose update was skipped: counted, listed with their records, and too many end the run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from maskmim import errors
from maskmim.data.records import Records

logger = logging.getLogger("maskmim")


class Diverged(errors.UserError):
    """Loss or gradient were not finite too many times in a row."""

    exit_code = errors.DIVERGED


class BadSteps:
    """Lists skipped steps in `bad_steps.jsonl`, one line each: step, why, records, their names.

    The file of an earlier start in the same folder is continued.
    most:    so many steps in a row that are not finite end the run.
    process: which of several; each lists the records of its own share of the batch, all but the
             first in `bad_steps-<process>.jsonl`.
    """

    def __init__(self, records: Records, folder: Path, *, most: int, process: int = 0):
        self.path = Path(folder) / (f"bad_steps-{process}.jsonl" if process else "bad_steps.jsonl")
        self._records, self._most = records, most

    def see(self, step: int, values: Mapping[str, float], indices: Sequence[int]) -> str:
        """What people should know of a step: '' where its update counts.

        values: its metrics. indices: the records of its batch. Raises Diverged.
        """
        in_a_row = int(values["bad_steps"])
        why = "loss or gradient not finite" if in_a_row else ""
        if values.get("spike", 0.0):
            why = "loss or gradient far above their medians"
        if not why:
            return ""
        self._list(step, why, indices)
        if in_a_row >= self._most:
            raise Diverged(
                f"loss or gradient not finite in {in_a_row} steps in a row, up to step {step}: "
                f"lower optim.lr, or use dtype float32; their records are in {self.path}; what is "
                "saved has the parameters from before them"
            )
        return f"step {step}: {why}, update skipped; its records are in {self.path.name}"

    def _list(self, step: int, why: str, indices: Sequence[int]) -> None:
        records = [int(index) for index in indices]
        names = [self._records.name(index) for index in records]
        row = {"step": step, "why": why, "records": records, "names": names}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            logger.warning("%s cannot be written (%s)", self.path, error)
