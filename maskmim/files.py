"""Atomic writes: no reader, and no restart after a crash, finds half a file."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def write_atomic(path: Path, content: str | bytes, *, sync: bool = False) -> None:
    """Write a file under another name, then rename it.

    content: text is written as UTF-8. sync: flush to the disk before the rename.
    Raises OSError with the path where it cannot be written; half a file is removed.
    """
    data = content.encode() if isinstance(content, str) else content
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture u8[H, W, 3] as PNG, atomically; make its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(data, format="PNG")
    write_atomic(path, data.getvalue())


def set_aside(paths: Iterable[Path]) -> list[Path]:
    """Rename files and folders of one folder to the first number that is free for all of them.

    metrics.jsonl becomes metrics.1.jsonl. Returns the new paths.
    """
    paths = sorted(paths)
    number = 1
    while any(os.path.lexists(_numbered(path, number)) for path in paths):
        number += 1
    return [path.rename(_numbered(path, number)) for path in paths]


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}")
