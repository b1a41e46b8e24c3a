"""Evaluations that fail: the others go on, and the failure is told at the end."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Collection, Iterator
from pathlib import Path

from maskmim.errors import FAILED, UserError, first_line
from maskmim.runtime import processes

RECONSTRUCTION = "reconstruction"
PICTURES = "pictures"


class EvaluationFailed(UserError):
    """Evaluations that failed, while the rest is done; exit code FAILED."""

    exit_code = FAILED


@contextlib.contextmanager
def noted(failed: dict[str, str], *names: str) -> Iterator[None]:
    """Note an error inside as the failure of evaluations, and go on.

    failed: {evaluation: why} to add to. Prints the traceback of an unexpected error. Of several
    processes all must meet the same error, or the others would wait for this one: there only errors
    that a message explains are noted, which depend on the config and the data.
    """
    try:
        yield
    except Exception as error:
        is_explained = isinstance(getattr(error, "exit_code", None), int)
        if not is_explained:
            if processes.is_distributed():
                raise
            traceback.print_exception(error)
        why = first_line(error) if is_explained else f"{type(error).__name__}: {first_line(error)}"
        failed.update(dict.fromkeys(names, why))


def describe(failed: Collection[str], run: Path | None, file: Path) -> EvaluationFailed:
    """Return an error that names the evaluations that failed, and how to repeat them alone.

    Why they failed stands in the table of the results, which was printed.
    run: its work directory, where nothing but that was asked for; None for the same command.
    file: of the results.
    """
    names = [name for name in failed if name != PICTURES]
    again = f"python -m maskmim.evaluate --workdir {run}" if run else "the same command"
    if names:
        again += f"{'' if run else ' with'} --evals {','.join(names)}"
    return EvaluationFailed(
        f"{', '.join(failed)} failed, see above; results are in {file}. Only what failed again: "
        f"{again}"
    )
