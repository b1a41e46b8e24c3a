"""Tiny-ImageNet-200 from a downloaded folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from maskmim.data import listing
from maskmim.data.records import BadImage, DataError, Example, class_names, manifest_digest

LABEL_SET = "class"
SPLITS = ("train", "val")


class TinyImageNetRecords:
    """Records of files (path below root, size, class index)."""

    def __init__(self, root: Path, files: Sequence[tuple[str, int, int]], classes: Sequence[str]):
        self.labels = class_names({LABEL_SET: classes})
        self.fingerprint = manifest_digest((name, size) for name, size, _ in files)
        self._root = root
        self._files = tuple(files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        name, _, label = self._files[index]
        try:
            return Example((self._root / name).read_bytes(), {LABEL_SET: label})
        except OSError as error:
            raise BadImage(error.strerror or str(error)) from error

    def name(self, index: int) -> str:
        """Return the path of the file below the folder."""
        return self._files[index][0]


def tiny_imagenet(*, path: str, split: Literal["train", "val"]) -> TinyImageNetRecords:
    """Return Tiny-ImageNet-200: 64 x 64 pictures of 200 classes of ImageNet.

    path: the folder tiny-imagenet-200 with wnids.txt, words.txt, train/<wnid>/images/*.JPEG,
    val/val_annotations.txt and val/images.
    split: 'train' (100,000) or 'val' (10,000; the official test pictures have no labels).
    Label set 'class': indices in the order of wnids.txt, names '<wnid> <words>'.
    Raises DataError for a missing file, an unknown class or a split without pictures.
    """
    if split not in SPLITS:
        raise DataError(
            f"Tiny-ImageNet has no split {split!r} with labels: set split to train or val"
        )
    root = Path(path).expanduser()
    wnids = _read_lines(root / "wnids.txt")
    numbers = {wnid: index for index, wnid in enumerate(wnids)}
    with listing.readable():
        listed = _train_files(root, numbers) if split == "train" else _val_files(root, numbers)
        files = [(name, (root / name).stat().st_size, label) for name, label in listed]
    if not files:
        raise DataError(f"{root / split} holds no pictures: unpack Tiny-ImageNet-200 again")
    words = dict(line.split("\t", 1) for line in _read_lines(root / "words.txt") if "\t" in line)
    classes = [f"{wnid} {words[wnid]}" if wnid in words else wnid for wnid in wnids]
    return TinyImageNetRecords(root, files, classes)


def _read_lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        fault = "does not exist" if missing else f"cannot be read ({error.strerror})"
        raise DataError(
            f"{file} {fault}: set the path to the unpacked folder tiny-imagenet-200"
        ) from None
    return [line.strip() for line in lines if line.strip()]


def _train_files(root: Path, numbers: dict[str, int]) -> list[tuple[str, int]]:
    """Return (path, class) of the training pictures, ordered by path."""
    files = []
    for wnid, label in numbers.items():
        folder = root / "train" / wnid / "images"
        if not folder.is_dir():
            raise DataError(f"{folder} does not exist: unpack Tiny-ImageNet-200 again")
        files += [
            (f"train/{wnid}/images/{file.name}", label)
            for file in folder.iterdir()
            if file.suffix.upper() == ".JPEG" and not file.name.startswith(".")
        ]
    return sorted(files)


def _val_files(root: Path, numbers: dict[str, int]) -> list[tuple[str, int]]:
    """Return (path, class) of the validation pictures, in the order of their list."""
    annotations = root / "val" / "val_annotations.txt"
    files = []
    for line in _read_lines(annotations):
        name, wnid = line.split("\t")[:2]
        if wnid not in numbers:
            raise DataError(
                f"{annotations} names the class {wnid!r}, which wnids.txt lacks: unpack "
                "Tiny-ImageNet-200 again"
            )
        if not (root / "val" / "images" / name).is_file():
            raise DataError(
                f"{root / 'val' / 'images' / name} does not exist: unpack Tiny-ImageNet-200 again"
            )
        files.append((f"val/images/{name}", numbers[wnid]))
    return files
