"""The format of records in ArrayRecord shards, and of the index beside the shards.

A record is: u32 little-endian length of the header, the header (JSON in UTF-8: name and labels),
then the unchanged bytes of the image file. `index.json` holds the class names and, for each shard,
its file name, its number of records, the digest of its manifest, a free tag (a split), its size and
its sha256.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from array_record.python import array_record_module

from maskmim import errors
from maskmim.data.records import DataError, Example, manifest_digest
from maskmim.errors import UserError
from maskmim.files import write_atomic

FORMAT = "maskmim-shards-1"
INDEX = "index.json"
PART = ".part"  # Suffix of incomplete files, the same as that of `write_atomic`.
_LENGTH = struct.Struct("<I")


class NoRoom(UserError):
    """A file could not be written: the disk is full, or a file size limit was reached."""

    exit_code = errors.STORAGE


@dataclass(frozen=True)
class Shard:
    """One shard: file name, number of records, digest of its manifest, tag.

    size, sha256: of the file; 0 and '' in an older index without them.
    """

    file: str
    records: int
    manifest: str
    tag: str = ""
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Index:
    """The content of `index.json`: {label set: class names} and the shards in order."""

    labels: dict[str, tuple[str, ...]]
    shards: tuple[Shard, ...]


def pack(name: str, labels: Mapping[str, int], encoded: bytes) -> bytes:
    """Return one record as bytes."""
    header = json.dumps({"name": name, "labels": dict(labels)}, separators=(",", ":")).encode()
    return _LENGTH.pack(len(header)) + header + encoded


def unpack(record: bytes) -> tuple[str, Example]:
    """Return the name and the example of a packed record. Raises DataError where it is not one."""
    try:
        (length,) = _LENGTH.unpack_from(record)
        end = _LENGTH.size + length
        header = json.loads(record[_LENGTH.size : end])
        return header["name"], Example(record[end:], header["labels"])
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "a shard holds a record that maskmim did not write: make shards with "
            "python -m maskmim.convert"
        ) from error


def write_shard(
    path: Path, examples: Iterable[tuple[str, Mapping[str, int], bytes]], tag: str = ""
) -> Shard:
    """Write examples (name, labels, encoded) as one shard, atomically.

    Raises NoRoom where it cannot be written.
    """
    return seal_shard(path, fill_shard(path, examples), tag)


def fill_shard(
    path: Path, examples: Iterable[tuple[str, Mapping[str, int], bytes]]
) -> list[tuple[str, int]]:
    """Write the records of a shard to its part file; return the manifest, for `seal_shard`.

    Records are stored one by one (group_size 1), as random access needs, and uncompressed, as image
    files are compressed already. The same records give the same bytes.
    """
    entries = []
    with _raise_no_room(path):
        writer = array_record_module.ArrayRecordWriter(
            str(_part(path)), "group_size:1,uncompressed"
        )
    try:
        for name, labels, encoded in examples:
            with _raise_no_room(path):
                writer.write(pack(name, labels, encoded))
            entries.append((name, len(encoded)))
    except BaseException:
        with contextlib.suppress(RuntimeError):  # closing raises the same write error again
            writer.close()
        raise
    with _raise_no_room(path):
        writer.close()
    return entries


def seal_shard(path: Path, entries: Iterable[tuple[str, int]], tag: str = "") -> Shard:
    """Flush a filled shard to the disk and rename its part file; return its entry for the index."""
    entries, part = list(entries), _part(path)
    with _raise_no_room(path), part.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = os.fstat(file.fileno()).st_size
    os.replace(part, path)
    return Shard(path.name, len(entries), manifest_digest(entries), tag, size, digest)


def _part(path: Path) -> Path:
    return path.with_name(path.name + PART)


@contextlib.contextmanager
def _raise_no_room(path: Path) -> Iterator[None]:
    """Turn the error of a writer into NoRoom, and delete the part file."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            _part(path).unlink(missing_ok=True)
        raise NoRoom(
            f"{path} cannot be written ({' '.join(str(error).split())}): make room on that disk; "
            "finished shards are kept, and the same command continues after them"
        ) from error


def find_damage(folder: Path, shard: Shard) -> str:
    """Read the file of a shard and return what is damaged, '' for nothing.

    Of a shard without a checksum in the index, only checks that it exists.
    """
    path = folder / shard.file
    try:
        size = path.stat().st_size
        if not shard.sha256:
            return ""
        if size != shard.size:
            return f"{size:,} bytes instead of {shard.size:,}"
        with path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256
        return "" if same else "its sha256 differs from the index"
    except OSError as error:
        return error.strerror or str(error)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically. Raises NoRoom where it cannot be written."""
    with _raise_no_room(path):
        write_atomic(path, text.encode("utf-8", "surrogateescape"), sync=True)


def write_index(folder: Path, index: Index) -> None:
    """Write `index.json` into the folder of the shards."""
    content = {"format": FORMAT, **asdict(index)}
    write_text(folder / INDEX, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def read_index(folder: Path) -> Index:
    """Read `index.json`. Raises DataError where it is missing or has another format."""
    path = folder / INDEX
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise DataError(
                f"{path} has the format {content['format']!r}, expected {FORMAT!r}: make the "
                "shards again with python -m maskmim.convert"
            )
        labels = {name: tuple(classes) for name, classes in content["labels"].items()}
        return Index(labels, tuple(Shard(**shard) for shard in content["shards"]))
    except FileNotFoundError:
        raise DataError(
            f"{folder} has no {INDEX}: name the folder that python -m maskmim.convert wrote, or "
            "run it to the end"
        ) from None
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise DataError(
            f"{path} is damaged ({error}): make the shards again with python -m maskmim.convert"
        ) from error
