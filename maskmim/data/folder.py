"""Images in folders, with one folder per class or without classes."""

from __future__ import annotations

import abc
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from maskmim.data.records import BadImage, DataError, Example, class_names, manifest_digest

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
LABEL_SET = "class"


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
    def _content(self, index: int) -> bytes:
        """Return the bytes of a file. Raises BadImage where they cannot be read."""


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

    Suffixes jpg, jpeg, png, webp, bmp, tif, tiff and gif, in upper or lower case. Skips files and
    folders whose names begin with a dot; follows links.
    Raises DataError where the folder is missing or holds no images.
    """
    root = existing_folder(path)
    return FolderRecords(root, _list_images(root))


def labelled(*, path: str, classes: Sequence[str] = ()) -> FolderRecords:
    """Return the image files in one subfolder per class, at any depth below it; label set 'class'.

    classes: names of the subfolders in the order of their class indices; by default all subfolders
    sorted by name. Name them where two folders (training, test) must agree and one may lack a
    class. Skips files beside the subfolders. Otherwise as `unlabelled`.
    Raises DataError where the folder is missing, has no subfolders or no images in them, or has a
    subfolder that `classes` does not name.
    """
    root = existing_folder(path)
    subfolders = sorted(
        entry.name for entry in os.scandir(root) if entry.is_dir() and _visible(entry.name)
    )
    unknown = sorted(set(subfolders) - set(classes)) if classes else []
    if unknown:
        raise DataError(f"{path} has subfolders that are not among the classes: {unknown[:5]}")
    files = [(name, size) for name, size in _list_images(root) if "/" in name] if subfolders else []
    if not files:
        raise DataError(
            f"{path} has no subfolders with images, one per class: for images without classes use "
            "maskmim.data.folder.unlabelled"
        )
    return FolderRecords(root, files, tuple(classes) or subfolders)


def existing_folder(path: str) -> Path:
    """Return the folder at a path. Raises DataError where it does not exist."""
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        fault = "is a file" if root.is_file() else "does not exist"
        raise DataError(f"the folder {path!r} {fault}: set the path to a folder with data")
    return root


def _list_images(root: Path) -> list[tuple[str, int]]:
    """Return (name, size) of the images below a folder, by name. Raises DataError for no images."""
    others = 0
    files = []
    for name, size in walk_files(root):
        if name.lower().endswith(SUFFIXES):
            files.append((name, size))
        else:
            others += 1
    if not files:
        endings = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(
            f"no images ({endings}) in {root} or below it, only {others} other files: set the path "
            "to a folder with images"
        )
    return sorted(files)


def walk_files(root: Path) -> Iterator[tuple[str, int]]:
    """Yield (path below root, size) of the files that are not hidden; enter each folder once."""
    entered = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        subfolders[:] = sorted(filter(_visible, subfolders)) if real not in entered else []
        if real in entered:
            continue
        entered.add(real)
        for name in filter(_visible, names):
            path = os.path.join(folder, name)
            # A dangling link stays in the list, with size 0, and is reported as a bad file.
            size = os.stat(path).st_size if os.path.exists(path) else 0
            yield os.path.relpath(path, root).replace(os.sep, "/"), size


def _visible(name: str) -> bool:
    return not name.startswith(".")
