"""Images in folders, with one folder per class or without classes."""

from __future__ import annotations

import abc
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import features

from maskmim.data import listing
from maskmim.data.records import BadImage, DataError, Example, class_names, manifest_digest

LABEL_SET = "class"
# Pillow may be built without the libraries that these kinds need.
_OPTIONAL = {
    "avif": (".avif", ".avifs"),
    "jpg_2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
}
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif",
    ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx", ".sgi", ".qoi",
    *(end for library, ends in _OPTIONAL.items() if features.check(library) for end in ends),
)  # fmt: skip
# Subfolders with these names are parts of a data set, not classes.
SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing"}


class FileRecords(abc.ABC):
    """Records of files in any kind of storage; a subclass reads them by `_content`.

    files: (name with '/' as separator, size in bytes) of each. classes: names of the classes, empty
    for unlabelled files; the class of a file is the first part of its name.
    """

    def __init__(self, files: Sequence[tuple[str, int]], classes: Sequence[str]):
        self._names = [name for name, _ in files]
        self.fingerprint = manifest_digest(files)
        self.labels: Mapping[str, tuple[str, ...]] = (
            class_names({LABEL_SET: classes}) if classes else {}
        )
        number = {name: index for index, name in enumerate(classes)}
        self._classes = np.array(
            [number[name.split("/")[0]] for name in self._names] if classes else [], np.int32
        )

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        labels = {LABEL_SET: int(self._classes[index])} if self.labels else {}
        return Example(self._content(index), labels)

    def name(self, index: int) -> str:
        """Return the name of the file: its path below the folder or inside its archive."""
        return self._names[index]

    @abc.abstractmethod
    def _content(self, index: int) -> bytes | dict[str, bytes]:
        """Return the bytes of a file, or of the file of each stream. Raises BadImage for none."""


class FolderRecords(FileRecords):
    """Records of the files below a folder, ordered by name; see `FileRecords`.

    files: (path below root, size in bytes) of each.
    """

    def __init__(self, root: Path, files: Sequence[tuple[str, int]], classes: Sequence[str] = ()):
        super().__init__(files, classes)
        self._root = root

    def _content(self, index: int) -> bytes:
        try:
            return (self._root / self._names[index]).read_bytes()
        except OSError as error:
            raise BadImage(error.strerror or str(error)) from error


def unlabelled(*, path: str) -> FolderRecords:
    """Return all image files below a folder, at any depth, without labels.

    The suffixes are SUFFIXES, in upper or lower case; other files are counted by kind in one line
    on stderr. Skips what `listing.is_hidden`; follows links.
    Raises DataError where the folder is missing or holds no images, or where a folder in it cannot
    be read.
    """
    root = listing.existing_folder(path)
    choice = list_kinds(root, SUFFIXES, "image")
    listing.tell_left_out(root, choice.left_out)
    return FolderRecords(root, choice.files)


def labelled(*, path: str, classes: Sequence[str] = ()) -> FolderRecords:
    """Return the image files in one subfolder per class, at any depth below it; label set 'class'.

    classes: names of the subfolders in the order of their class indices; by default the subfolders
    with images, sorted by name. Name them where two folders (training, test) must agree and one may
    lack a class. Skips files beside the subfolders, which are counted with other files.
    Otherwise as `unlabelled`.
    Raises DataError where the folder is missing, has no subfolders with images, has a subfolder
    with images that `classes` does not name, or where its subfolders are parts such as train and
    val.
    """
    root = listing.existing_folder(path)
    return FolderRecords(root, *list_classes(root, classes, SUFFIXES, "image", "folder"))


def list_kinds(root: Path, suffixes: Sequence[str], what: str) -> listing.Choice:
    """Return the files below a folder with one of the suffixes. Raises DataError for none.

    what: a word for one of the files, for the error.
    """
    choice = listing.choose(listing.walk(root), suffixes)
    if not choice.files:
        endings = ", ".join(suffix[1:] for suffix in suffixes)
        raise DataError(
            f"no {what}s ({endings}) in {listing.printable(str(root))} or below it, "
            f"{other_files(choice.left_out)}: set the path to a folder with {what}s"
        )
    return choice


def other_files(left_out: Mapping[str, int]) -> str:
    """Return 'only 5 other files (3 .pdf, 2 .txt)' for an error, or that there are none."""
    count = sum(left_out.values())
    if not count:
        return "and no other files"
    files = "file" if count == 1 else "files"
    return f"only {count:,} other {files} ({listing.counts_text(left_out)})"


def list_classes(
    root: Path, classes: Sequence[str], suffixes: Sequence[str], what: str, module: str
) -> tuple[list[tuple[str, int]], list[str]]:
    """Return the files in subfolders, and the names of the classes; print what is left out.

    classes: as of `labelled`. what: a word for one of the files. module: that of `unlabelled`.
    """
    choice = list_kinds(root, suffixes, what)
    files = [(name, size) for name, size in choice.files if "/" in name]
    beside = len(choice.files) - len(files)
    if not files:
        raise DataError(
            f"{listing.printable(str(root))} has no subfolders with {what}s, one per class: for "
            f"{what}s without classes use maskmim.data.{module}.unlabelled"
        )
    found = sorted({name.split("/")[0] for name, _ in files})
    check_classes(root, found, [str(name) for name in classes], what)
    left_out = Counter(choice.left_out)
    if beside:
        left_out[f"{what}(s) beside the class folders"] = beside
    listing.tell_left_out(root, left_out)
    empty = sorted(set(_subfolders(root)) - set(found) - set(classes))
    if empty:
        listing.tell_once(
            f"{listing.printable(str(root))}: subfolders without {what}s are no classes: "
            f"{listing.names_text(empty)}"
        )
    return files, [str(name) for name in classes] or found


def check_classes(root: Path, found: Sequence[str], classes: Sequence[str], what: str) -> None:
    """Raise DataError for subfolders that `classes` lacks, and for those that are no classes."""
    unknown = sorted(set(found) - set(classes)) if classes else []
    if unknown:
        raise DataError(
            f"{listing.printable(str(root))} has subfolders that are not among the classes: "
            f"{unknown[: listing.SHOWN]}; the classes are {listing.names_text(classes)}"
        )
    if not classes and {name.lower() for name in found} <= SPLIT_NAMES:
        train = next((name for name in found if name.lower().startswith("train")), found[0])
        raise DataError(
            f"the subfolders of {listing.printable(str(root))} are {', '.join(found)}: these are "
            f"parts of a data set, not classes of {what}s; name one of them, as path={root}/{train}"
        )


def _subfolders(root: Path) -> list[str]:
    """Return the names of the subfolders of a folder that are not hidden."""
    with os.scandir(root) as entries:
        return [
            entry.name for entry in entries if entry.is_dir() and not listing.is_hidden(entry.name)
        ]
