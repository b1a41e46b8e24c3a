"""Checksums of the files below a folder, kept in a file that holds a checksum of itself too."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from maskmim.files import write_atomic


def of_folder(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder, by relative path."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            sums[str(path.relative_to(folder))] = digest
    return sums


def write(path: Path, sums: Mapping[str, str]) -> None:
    """Writes sums in one move, so that there is never half of them; makes the folder."""
    path.parent.mkdir(exist_ok=True)
    stored = {"files": dict(sums), "sha256": _own(sums)}
    write_atomic(path, json.dumps(stored, indent=1), sync=True)


def read(path: Path) -> dict[str, str] | None:
    """The sums of a file; None where it is missing or damaged itself, so that it proves nothing."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        sums = stored["files"]
        return sums if stored["sha256"] == _own(sums) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def damage(folder: Path, sums: Mapping[str, str]) -> str:
    """What differs between a folder and its sums, as a few words; '' where nothing does.

    Raises PermissionError where files may not be read.
    """
    try:
        found = of_folder(folder)
    except PermissionError:
        raise
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    bad = [name for name in sorted(sums) if found.get(name) != sums[name]]
    return f"{len(bad)} damaged or missing files, first {bad[0]}" if bad else ""


def sync(folder: Path) -> None:
    """Brings a folder, with its name and all that is in it, to the disk."""
    for path in [folder.parent, folder, *folder.rglob("*")]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError:  # some network file systems refuse it for folders
            if not path.is_dir():
                raise
        finally:
            os.close(handle)


def _own(sums: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
