"""The interface of data sources: records with random access."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from maskmim.data.sound import Sound

# Of each end of a file.
SAMPLED_BYTES = 1 << 16


class DataError(ValueError):
    """The data cannot be used as requested; the message says what to do.

    exit_code: USAGE, see maskmim.errors. stream: which of several an example has is meant, or ''.
    """

    exit_code = 2
    stream = ""


class TooManyBadImages(DataError):
    """More images are unreadable than data.max_bad_share allows; exit code BAD_DATA."""

    exit_code = 66


class BadImage(Exception):
    """One image cannot be read; `reason` says why, in a few words.

    stream: which of several an example has is meant, or ''.
    """

    def __init__(self, reason: str, stream: str = ""):
        super().__init__(reason)
        self.reason, self.stream = reason, stream

    @classmethod
    def of(cls, error: Exception) -> BadImage:
        """Return a BadImage whose reason is the message of another error, in one line."""
        return cls(" ".join(str(error).split())[:200] or type(error).__name__)


class Example(NamedTuple):
    """One record as it is stored.

    encoded: bytes of an image, video or sound file, or the pixels u8[H, W, C], frames or a
             `sound.Sound` themselves; {name: encoded} of several streams and fields.
    labels:  {label set: class index}, empty where there are none.
    fields:  {name: array} of what needs no decoding, such as boxes.
    files:   {stream: path} of a record that is several files, for messages.
    """

    encoded: bytes | np.ndarray | Sound | Mapping[str, bytes | np.ndarray | Sound]
    labels: dict[str, int]
    fields: Mapping[str, np.ndarray] = {}
    files: Mapping[str, str] = {}


@runtime_checkable
class Records(Protocol):
    """A source of examples with random access, picklable and readable from several threads.

    labels:      {label set: names of its classes}, empty where the examples have no labels.
    fingerprint: hex sha256 of the manifest, see `manifest_digest`; a resumed run compares it.
    """

    labels: Mapping[str, tuple[str, ...]]
    fingerprint: str

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, index: int) -> Example:
        """Return record `index`. Raises BadImage where unreadable, IndexError past the end."""
        ...

    def name(self, index: int) -> str:
        """Return the record's name for people: a path, or a key inside an archive."""
        ...


def manifest_digest(entries: Iterable[tuple[str, int]]) -> str:
    """Return the hex sha256 of a manifest: (name, size in bytes) of every record, in any order.

    Covers names and sizes, not pixels, so that no image is read; `content_sample` reads a few.
    """
    digest = hashlib.sha256()
    for name, size in sorted(entries):
        digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def content_sample(records: Records, count: int = 16) -> list[str]:
    """Return hex sha256s of the content of `count` records, spread evenly from first to last.

    Of a file its size, its first and its last SAMPLED_BYTES count. '' stands for a record that
    cannot be read now, and for one that its source makes itself and does not read as a file.
    """
    last = len(records) - 1
    places = sorted({last * i // max(count - 1, 1) for i in range(count)}) if last >= 0 else []
    return [_content_digest(records, index) for index in places]


def _content_digest(records: Records, index: int) -> str:
    try:
        content = records[index].encoded
    except Exception:  # whatever a source raises: the training reports what it cannot read
        return ""
    parts = [content[key] for key in sorted(content)] if isinstance(content, dict) else [content]
    if not all(isinstance(part, bytes) for part in parts):
        return ""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}\n".encode())
        digest.update(part[:SAMPLED_BYTES])
        digest.update(part[-SAMPLED_BYTES:])
    return digest.hexdigest()


def class_names(labels: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Return class names as tuples. Raises DataError for a label set with none or duplicates."""
    names = {label_set: tuple(classes) for label_set, classes in labels.items()}
    for label_set, classes in names.items():
        if not classes or len(set(classes)) != len(classes):
            raise DataError(f"label set {label_set!r} needs distinct class names, got {classes}")
    return names
