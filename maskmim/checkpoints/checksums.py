"""Checksums of the files in a folder, stored in a file that holds its own checksum too.

The file also has copies of the small text files, without which whole arrays could not be read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from maskmim.errors import count_of
from maskmim.files import write_atomic

# Larger files are not copied.
SMALL_BYTES = 1 << 20


def hash_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder, by relative path."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            sums[str(path.relative_to(folder))] = digest
    return sums


def write(path: Path, sums: Mapping[str, str], copies: Mapping[str, str]) -> None:
    """Write checksums and copies to a file, atomically; make its folder."""
    path.parent.mkdir(exist_ok=True)
    stored = {"files": dict(sums), "copies": dict(copies), "sha256": _digest(sums, copies)}
    write_atomic(path, json.dumps(stored, indent=1), sync=True)


def copy_small_files(folder: Path) -> dict[str, str]:
    """Return the content of the small text files below a folder, by relative path."""
    return dict(_small_files(folder))


def _small_files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.stat().st_size > SMALL_BYTES:
            continue
        content = path.read_bytes()
        try:
            text = content.decode()
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            yield str(path.relative_to(folder)), text


def read(path: Path) -> dict[str, str] | None:
    """Return the checksums in a file; None where it is missing or itself damaged."""
    stored = _read(path)
    return stored["files"] if stored else None


def read_copies(path: Path) -> dict[str, str]:
    """Return the copies in a file of checksums; {} where it is missing or itself damaged."""
    stored = _read(path)
    return stored["copies"] if stored else {}


def _read(path: Path) -> dict[str, dict[str, str]] | None:
    try:
        # Files of earlier versions have no copies.
        stored = {"copies": {}, **json.loads(path.read_text(encoding="utf-8"))}
        sound = stored["sha256"] == _digest(stored["files"], stored["copies"])
        return stored if sound else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def needed_copies(folder: Path, copies: Mapping[str, str]) -> list[str]:
    """Return the names of the files in a folder that are not as their copies."""
    return [name for name, text in copies.items() if _content(folder / name) != text.encode()]


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except PermissionError:
        raise
    except OSError:
        return None


def describe_damage(
    folder: Path, sums: Mapping[str, str], copies: Mapping[str, str] | None = None
) -> str:
    """Return how a folder differs from its checksums, in a few words; '' where it does not.

    copies: of files whose damage does not matter. Raises PermissionError where files may not be
    read.
    """
    try:
        actual = hash_files(folder)
    except PermissionError:
        raise
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    bad = [name for name in sorted(sums) if actual.get(name) != sums[name]]
    bad = [name for name in bad if name not in (copies or {})]
    return f"{count_of(len(bad), 'damaged or missing file')}, first {bad[0]}" if bad else ""


def link_with_copies(
    folder: Path, target: Path, sums: Mapping[str, str], copies: Mapping[str, str]
) -> None:
    """Fill an empty folder with links to the files of another, and with copies in their place."""
    for name in sums:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in copies:
            path.write_text(copies[name], encoding="utf-8", newline="")
        else:
            path.symlink_to((folder / name).absolute())


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


def _digest(sums: Mapping[str, str], copies: Mapping[str, str]) -> str:
    content = {**sums, **{f"copy of {name}": text for name, text in copies.items()}}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
