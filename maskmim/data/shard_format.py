"""How records lie in ArrayRecord shards, and the index that stands beside the shards.

A record is: u32 little-endian length of the header, the header (JSON in UTF-8: name and labels),
then the bytes of the image file as they are. `index.json` holds the class names and, for each
shard, its file name, its number of records, the digest of its manifest and a free tag (a split).
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from array_record.python import array_record_module

from maskmim.data.records import DataError, Example, manifest_digest

FORMAT = "maskmim-shards-1"
INDEX = "index.json"
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Shard:
    """One shard: file name, number of records, digest of its manifest, tag."""

    file: str
    records: int
    manifest: str
    tag: str = ""


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
            "python -m maskmim.data.convert"
        ) from error


def write_shard(
    path: Path, examples: Iterable[tuple[str, Mapping[str, int], bytes]], tag: str = ""
) -> Shard:
    """Writes (name, labels, encoded) as one shard; the file appears whole or not at all.

    Records are stored one by one (group_size 1), which random access needs, and uncompressed,
    because image files are compressed already.
    """
    partial = path.with_name(path.name + ".partial")
    entries = []
    writer = array_record_module.ArrayRecordWriter(str(partial), "group_size:1,uncompressed")
    try:
        for name, labels, encoded in examples:
            writer.write(pack(name, labels, encoded))
            entries.append((name, len(encoded)))
    finally:
        writer.close()
    os.replace(partial, path)
    return Shard(path.name, len(entries), manifest_digest(entries), tag)


def write_text(path: Path, text: str) -> None:
    """Writes a text file that appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
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
            "python -m maskmim.data.convert wrote, or run it to the end"
        ) from None
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is damaged ({error}): make the shards anew") from error
