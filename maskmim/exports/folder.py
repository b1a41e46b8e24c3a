"""Writing a folder so that it is there as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from maskmim.exports.subject import ExportError

# What exports write; --force replaces folders that hold nothing else.
KNOWN = {
    "README.md",
    "config.json",
    "encode.jaxexport",
    "encode.onnx",
    "encode.onnx.data",
    "model.safetensors",
    "preprocessor_config.json",
}


def check_free(out: Path, *, force: bool) -> None:
    """Raise ExportError unless a folder is absent, empty, or with force an earlier export."""
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise ExportError(f"--out {out} is a file: give a folder")
    names = sorted(path.name for path in out.iterdir())
    if others := [name for name in names if name not in KNOWN]:
        raise ExportError(
            f"--out {out} holds {', '.join(others[:3])}, which no export wrote: give another folder"
        )
    if names and not force:
        raise ExportError(f"--out {out} holds an export: --force replaces it")


def write_folder(out: Path, fill: Callable[[Path], None], *, force: bool) -> dict[str, int]:
    """Fill a folder beside `out`, then rename it; return the sizes of its files in bytes.

    Raises ExportError as `check_free`, and OSError where nothing can be written.
    """
    check_free(out, force=force)
    out.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        fill(new)
        new.chmod(0o777 & ~_umask())
        sizes = {path.name: path.stat().st_size for path in sorted(new.iterdir())}
        _replace(out, new)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return sizes


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _replace(out: Path, new: Path) -> None:
    """Rename `new` to `out`; what was at `out` is removed after that."""
    if not out.exists():
        new.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
    out.rename(old)  # over an empty folder
    new.rename(out)
    shutil.rmtree(old)
