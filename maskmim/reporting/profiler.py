"""A trace of a few steps for XProf, TensorBoard and Perfetto: what `--profile STEPS` writes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import jax

from maskmim.errors import UserError

# Steps of a start that are not traced: the first waits for the compiler, the second for caches.
WARM_UP = 2


class ProfileError(UserError, ValueError):
    """A number of steps that cannot be traced."""


class StepProfiler:
    """Context manager that traces `steps` steps of a training, after WARM_UP steps of this start.

    folder: where the trace is written, folder/plugins/profile/<time>/. steps: 0 for no trace.
    first:  the number of the first step of this start. last: of the last step of the training.

    problem: why nothing will be traced although steps were asked for, else ''.
    """

    def __init__(self, folder: Path, *, steps: int, first: int, last: int):
        self.folder = folder
        begin = first + WARM_UP
        self._traced = range(begin, min(begin + steps, last + 1))
        self._running = False
        self.problem = ""
        if steps and not self._traced:
            self.problem = f"no profile: this start has fewer than {WARM_UP + 1} steps to train"

    def __enter__(self) -> StepProfiler:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Annotate a step, so that a trace shows where it begins and ends."""
        if number in self._traced and not self._running:
            jax.profiler.start_trace(str(self.folder))
            self._running = True
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield

    def after(self, number: int, outputs: object) -> str:
        """End the trace after its last step; return a line for people then, '' otherwise.

        outputs: arrays of the step, which are waited for, so that the trace holds all its work.
        """
        if not self._running or number != self._traced[-1]:
            return ""
        jax.block_until_ready(outputs)
        self._stop()
        return (
            f"profile of steps {self._traced[0]} to {number} is in {self.folder}: "
            f"xprof --logdir {self.folder} (pip install xprof), or TensorBoard with that plugin"
        )

    def _stop(self) -> None:
        if self._running:
            self._running = False
            jax.profiler.stop_trace()


def parse_steps(text: str | None) -> int:
    """Return the number of steps of --profile; 0 for None. Raise ProfileError for a wrong one."""
    if text is None:
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise ProfileError(f"--profile {text}: give the number of steps to trace, from 1")
    return int(text)
