"""How records lie in ArrayRecord shards, and the index that stands beside the shards.

A record is: u32 little-endian length of the header, the header (JSON in UTF-8: name and labels),
then the bytes of the image file as they are. `index.json` holds the class names and, for each
shard, its file name, its number of records, the digest of its manifest, a free tag (a split), its
size and its sha256.
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

FORMAT = "maskmim-shards-1"
INDEX = "index.json"
PARTIAL = ".partial"  # Ending of what is not whole yet.
_LENGTH = struct.Struct("<I")


class NoRoom(UserError):
    """A file could not be written: the disk is full, or a limit on its size was reached."""

    exit_code = errors.STORAGE


@dataclass(frozen=True)
class Shard:
    """One shard: file name, number of records, digest of its manifest, tag.

    size, sha256: of the file; 0 and '' in an index that was written before they were kept.
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
    """One record as bytes."""
    header = json.dumps({"name": name, "labels": dict(labels)}, separators=(",", ":")).encode()
    return _LENGTH.pack(len(header)) + header + encoded


def unpack(record: bytes) -> tuple[str, Example]:
    """The name and the example of a packed record; DataError where it is not one."""
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
    """Writes (name, labels, encoded) as one shard; the file appears whole or not at all.

    Raises NoRoom where it cannot be written.
    """
    return seal(path, fill(path, examples), tag)


def fill(
    path: Path, examples: Iterable[tuple[str, Mapping[str, int], bytes]]
) -> list[tuple[str, int]]:
    """Writes the records of a shard beside its place; returns its manifest, for `seal`.

    Records are stored one by one (group_size 1), which random access needs, and uncompressed,
    because image files are compressed already. The same records make the same bytes.
    """
    entries = []
    with _explained(path):
        writer = array_record_module.ArrayRecordWriter(
            str(_partial(path)), "group_size:1,uncompressed"
        )
    try:
        for name, labels, encoded in examples:
            with _explained(path):
                writer.write(pack(name, labels, encoded))
            entries.append((name, len(encoded)))
    except BaseException:
        with contextlib.suppress(RuntimeError):  # it complains again of what it could not write
            writer.close()
        raise
    with _explained(path):
        writer.close()
    return entries


def seal(path: Path, entries: Iterable[tuple[str, int]], tag: str = "") -> Shard:
    """Brings a filled shard to the disk, then to its place; returns what the index says of it."""
    entries, partial = list(entries), _partial(path)
    with _explained(path), partial.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = os.fstat(file.fileno()).st_size
    os.replace(partial, path)
    return Shard(path.name, len(entries), manifest_digest(entries), tag, size, digest)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what a writer raises into NoRoom, without the half of a file that is there."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            _partial(path).unlink(missing_ok=True)
        raise NoRoom(
            f"{path} cannot be written ({' '.join(str(error).split())}): make room there; whole "
            "shards are kept, and the same command continues after them"
        ) from error


def damaged(folder: Path, shard: Shard) -> str:
    """What is wrong with the file of a shard, '' for nothing; reads all of it.

    A shard without a checksum in the index is only looked for.
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
        return "" if same else "other bytes than were written"
    except OSError as error:
        return error.strerror or str(error)


def write_text(path: Path, text: str) -> None:
    """Writes a text file that appears whole or not at all; NoRoom where it cannot be written."""
    partial = _partial(path)
    with _explained(path), partial.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_index(folder: Path, index: Index) -> None:
    """Writes `index.json` into the folder of the shards."""
    content = {"format": FORMAT, **asdict(index)}
    write_text(folder / INDEX, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def read_index(folder: Path) -> Index:
    """Reads `index.json`; DataError where it is missing or of another kind."""
    path = folder / INDEX
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise DataError(f"{path} says format {content['format']!r}, expected {FORMAT!r}")
        labels = {name: tuple(classes) for name, classes in content["labels"].items()}
        return Index(labels, tuple(Shard(**shard) for shard in content["shards"]))
    except FileNotFoundError:
        raise DataError(
            f"there is no {INDEX} in {folder}: name the folder that "
            "python -m maskmim.convert wrote, or run it to the end"
        ) from None
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is damaged ({error}): make the shards anew") from error
