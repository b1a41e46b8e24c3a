"""Atomic writes: no reader, and no restart after a crash, finds half a file."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image


def write_atomic(path: Path, content: str | bytes, *, sync: bool = False) -> None:
    """Write a file under another name, then rename it.

    content: text is written as UTF-8. sync: flush to the disk before the rename.
    """
    data = content.encode() if isinstance(content, str) else content
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture u8[H, W, 3] as PNG, atomically; make its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(data, format="PNG")
    write_atomic(path, data.getvalue())
