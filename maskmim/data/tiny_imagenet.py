"""Tiny-ImageNet-200 from a folder that was downloaded before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskmim.data.records import BadImage, DataError, Example, class_names, manifest_digest

LABEL_SET = "class"
SPLITS = ("train", "val")


class TinyImageNetRecords:
    """Records of (path below root, size, class index), in the order given."""

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
        """The path of the file below the folder."""
        return self._files[index][0]


def tiny_imagenet(*, path: str, split: str) -> TinyImageNetRecords:
    """Tiny-ImageNet-200: 64 x 64 pictures of 200 classes of ImageNet.

    path: the folder tiny-imagenet-200 with wnids.txt, words.txt, train/<wnid>/images/*.JPEG,
    val/val_annotations.txt and val/images.
    split: 'train' (100,000) or 'val' (10,000; the official test pictures have no labels).
    Label set 'class': indices in the order of wnids.txt, names '<wnid> <words>'.
    Raises DataError for a missing file, an unknown class or a split without pictures.
    """
    if split not in SPLITS:
        raise DataError(
            f"Tiny-ImageNet has the splits 'train' and 'val' with labels, not {split!r}"
        )
    root = Path(path).expanduser()
    wnids = _lines(root / "wnids.txt")
    number = {wnid: index for index, wnid in enumerate(wnids)}
    listed = _train(root, number) if split == "train" else _val(root, number)
    if not listed:
        raise DataError(f"{root / split} holds no pictures: unpack Tiny-ImageNet-200 again")
    files = [(name, (root / name).stat().st_size, label) for name, label in listed]
    words = dict(line.split("\t", 1) for line in _lines(root / "words.txt") if "\t" in line)
    classes = [f"{wnid} {words[wnid]}" if wnid in words else wnid for wnid in wnids]
    return TinyImageNetRecords(root, files, classes)


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise DataError(
            f"{file} does not exist: set the path to the unpacked folder tiny-imagenet-200"
        ) from None
    return [line.strip() for line in lines if line.strip()]


def _train(root: Path, number: dict[str, int]) -> list[tuple[str, int]]:
    """(path, class) of the training pictures, ordered by path."""
    found = []
    for wnid, label in number.items():
        folder = root / "train" / wnid / "images"
        if not folder.is_dir():
            raise DataError(f"{folder} does not exist: unpack Tiny-ImageNet-200 again")
        found += [
            (f"train/{wnid}/images/{file.name}", label)
            for file in folder.iterdir()
            if file.suffix.upper() == ".JPEG" and not file.name.startswith(".")
        ]
    return sorted(found)


def _val(root: Path, number: dict[str, int]) -> list[tuple[str, int]]:
    """(path, class) of the validation pictures, in the order of their list."""
    listing = root / "val" / "val_annotations.txt"
    found = []
    for line in _lines(listing):
        name, wnid = line.split("\t")[:2]
        if wnid not in number:
            raise DataError(f"{listing} names the class {wnid!r}, which wnids.txt lacks")
        if not (root / "val" / "images" / name).is_file():
            raise DataError(f"{root / 'val' / 'images' / name} does not exist: unpack it again")
        found.append((f"val/images/{name}", number[wnid]))
    return found
