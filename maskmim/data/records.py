"""What every source of images is: records that can be read in any order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np


class DataError(ValueError):
    """The data cannot be used as asked; the message says what to do.

    exit_code: of a command that it ends, see maskmim.runtime.exits: USAGE.
    """

    exit_code = 2


class TooManyBadImages(DataError):
    """More images are unreadable than data.max_bad_share allows; exit code BAD_DATA."""

    exit_code = 66


class BadImage(Exception):
    """One image cannot be read; `reason` says why, in a few words."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason

    @classmethod
    def of(cls, error: Exception) -> BadImage:
        """With the message of another error as reason, in one line."""
        return cls(" ".join(str(error).split())[:200] or type(error).__name__)


class Example(NamedTuple):
    """One record as it is stored.

    encoded: bytes of an image file, or the pixels u8[H, W, C] themselves.
    labels:  {label set: class index}, empty where there are none.
    """

    encoded: bytes | np.ndarray
    labels: dict[str, int]


@runtime_checkable
class Records(Protocol):
    """A source of images with random access; can be pickled and read from several threads.

    labels:      {label set: names of its classes}, empty where the images have no labels.
    fingerprint: hex sha256 of the manifest, see `manifest_digest`; a resumed run compares it.
    """

    labels: Mapping[str, tuple[str, ...]]
    fingerprint: str

    def __len__(self) -> int:
        """The number of images."""
        ...

    def __getitem__(self, index: int) -> Example:
        """Record `index`; BadImage where its file cannot be read, IndexError past the end."""
        ...

    def name(self, index: int) -> str:
        """What people call the record: a path, or a key inside an archive."""
        ...


def manifest_digest(entries: Iterable[tuple[str, int]]) -> str:
    """The hex sha256 of a manifest: (name, size in bytes) of every record, in any order.

    Names and sizes only, not pixels, so that it costs no reading; an image that was replaced by
    another one of the same name and size goes unnoticed.
    """
    digest = hashlib.sha256()
    for name, size in sorted(entries):
        digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def class_names(labels: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Class names as tuples; DataError where a label set names no class or one class twice."""
    names = {label_set: tuple(classes) for label_set, classes in labels.items()}
    for label_set, classes in names.items():
        if not classes or len(set(classes)) != len(classes):
            raise DataError(f"label set {label_set!r} needs distinct class names, got {classes}")
    return names
