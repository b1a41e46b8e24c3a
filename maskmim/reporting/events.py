"""TensorBoard events of a run."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

# It warns of values that are not finite without their names; the train loop names the step.
logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)

FLUSH_SECONDS = 5.0


class Events:
    """TensorBoard events, written in the calling thread.

    tensorboardX's SummaryWriter passes events to a thread through a queue of ten. When a full disk
    kills that thread, the eleventh event blocks, and training with it.
    """

    def __init__(self, folder: Path, step: int):
        folder.mkdir(parents=True, exist_ok=True)
        # File names have a resolution of one second: the suffix separates two quick starts.
        suffix = f".{os.getpid()}.{len(list(folder.iterdir()))}"
        self._writer = EventsWriter(str(folder / "events"), suffix)
        self._flush_at = 0.0
        start = SessionLog(status=SessionLog.START)
        self._add(Event(step=step + 1, session_log=start, wall_time=time.time()))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a scalar event for each value."""
        for name, value in values.items():
            scalar = summary.scalar(name, np.float32(value))
            self._add(Event(step=step, summary=scalar, wall_time=time.time()))

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Add a picture u8[H, W, 3]."""
        image = summary.image(name, picture, dataformats="HWC")
        self._add(Event(step=step, summary=image, wall_time=time.time()))

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()

    def _add(self, event: Event) -> None:
        self._writer.write_event(event)
        if time.monotonic() >= self._flush_at:
            self._writer.flush()
            self._flush_at = time.monotonic() + FLUSH_SECONDS
