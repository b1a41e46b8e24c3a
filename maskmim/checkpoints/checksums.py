"""Checksums of the files in a folder, stored in a file that holds its own checksum too."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from maskmim.files import write_atomic


def hash_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder, by relative path."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            sums[str(path.relative_to(folder))] = digest
    return sums


def write(path: Path, sums: Mapping[str, str]) -> None:
    """Write checksums to a file, atomically; make its folder."""
    path.parent.mkdir(exist_ok=True)
    stored = {"files": dict(sums), "sha256": _digest(sums)}
    write_atomic(path, json.dumps(stored, indent=1), sync=True)


def read(path: Path) -> dict[str, str] | None:
    """Return the checksums in a file; None where it is missing or itself damaged."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        sums = stored["files"]
        return sums if stored["sha256"] == _digest(sums) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe_damage(folder: Path, sums: Mapping[str, str]) -> str:
    """Return how a folder differs from its checksums, in a few words; '' where it does not.

    Raises PermissionError where files may not be read.
    """
    try:
        actual = hash_files(folder)
    except PermissionError:
        raise
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    bad = [name for name in sorted(sums) if actual.get(name) != sums[name]]
    return f"{len(bad)} damaged or missing files, first {bad[0]}" if bad else ""


def sync_to_disk(folder: Path) -> None:
    """Flush a folder, its name and everything in it to the disk."""
    for path in [folder.parent, folder, *folder.rglob("*")]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError:  # some network file systems refuse it for folders
            if not path.is_dir():
                raise
        finally:
            os.close(handle)


def _digest(sums: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
