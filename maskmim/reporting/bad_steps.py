"""A list of the steps whose update was skipped; too many in a row end the run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from maskmim import errors
from maskmim.data.records import Records
from maskmim.errors import count_of

logger = logging.getLogger("maskmim")


class Diverged(errors.UserError):
    """The loss or gradient was not finite too many times in a row."""

    exit_code = errors.DIVERGED


class BadSteps:
    """The list of skipped steps, `bad_steps.jsonl`: step, reason, records and their names per line.

    A restart in the same folder appends to the file.
    most:    the number of non-finite steps in a row that ends the run.
    process: index of this process; each lists the records of its share of the batch, all but the
             first in `bad_steps-<process>.jsonl`.
    """

    def __init__(self, records: Records, folder: Path, *, most: int, process: int = 0):
        self.path = Path(folder) / (f"bad_steps-{process}.jsonl" if process else "bad_steps.jsonl")
        self._records, self._most = records, most

    def see(self, step: int, values: Mapping[str, float], indices: Sequence[int]) -> str:
        """Return a message for the user about a skipped step, '' where the update was applied.

        values: the step's metrics. indices: the records of its batch. Raises Diverged.
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
                f"loss or gradient not finite in {count_of(in_a_row, 'step')} in a row, up to step "
                f"{step}: lower optim.lr, or use dtype float32; their records are in {self.path}; "
                "the checkpoint has the parameters from before these steps"
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
