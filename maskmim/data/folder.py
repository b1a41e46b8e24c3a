"""Images in folders: one folder per class, or no classes at all."""

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
    """Records of files, wherever they lie; a subclass reads them by `_content`.

    files: (name with '/' as separator, size in bytes) of each. classes: names of the classes, none
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
        """The name of the file: its path below the folder or inside its archive."""
        return self._names[index]

    @abc.abstractmethod
    def _content(self, index: int) -> bytes:
        """The bytes of a file; BadImage where they cannot be read."""


class FolderRecords(FileRecords):
    """Records of the files below a folder, in the order of their names; see `FileRecords`.

    files: their names are paths below root.
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
    """All image files below a folder, nested or flat, without labels.

    Endings jpg, jpeg, png, webp, bmp, tif, tiff and gif, in upper or lower case; files and folders
    whose names begin with a dot are passed over, links are followed.
    Raises DataError where the folder is missing or holds no images.
    """
    root = existing(path)
    return FolderRecords(root, _images(root))


def labelled(*, path: str, classes: Sequence[str] = ()) -> FolderRecords:
    """Image files in one subfolder per class, nested below it or not; label set 'class'.

    classes: names of the subfolders in the order of their class indices; by default all subfolders
    in the order of their names. Name them where two folders (training, test) must agree and one may
    lack a class. Files beside the subfolders are passed over. For the rest see `unlabelled`.
    Raises DataError where the folder is missing, has no subfolders or no images in them, or has a
    subfolder that `classes` does not name.
    """
    root = existing(path)
    found = sorted(
        entry.name for entry in os.scandir(root) if entry.is_dir() and _shown(entry.name)
    )
    strange = sorted(set(found) - set(classes)) if classes else []
    if strange:
        raise DataError(f"{path} has subfolders that are not among the classes: {strange[:5]}")
    files = [(name, size) for name, size in _images(root) if "/" in name] if found else []
    if not files:
        raise DataError(
            f"{path} has no subfolders with images, one for each class: for images without classes "
            "use maskmim.data.folder.unlabelled"
        )
    return FolderRecords(root, files, tuple(classes) or found)


def existing(path: str) -> Path:
    """The folder at a path; DataError where there is none."""
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        what = "is a file" if root.is_file() else "does not exist"
        raise DataError(f"the folder {path!r} {what}: set the path to a folder with data")
    return root


def _images(root: Path) -> list[tuple[str, int]]:
    """(name, size) of the images below a folder, ordered by name; DataError where there is none."""
    others = 0
    files = []
    for name, size in files_below(root):
        if name.lower().endswith(SUFFIXES):
            files.append((name, size))
        else:
            others += 1
    if not files:
        endings = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(
            f"there are no images ({endings}) in {root} or below it, only {others} other files: "
            "set the path to a folder with images"
        )
    return sorted(files)


def files_below(root: Path) -> Iterator[tuple[str, int]]:
    """(path below root, size) of the files that are not hidden; a folder is entered once."""
    entered = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        subfolders[:] = sorted(filter(_shown, subfolders)) if real not in entered else []
        if real in entered:
            continue
        entered.add(real)
        for name in filter(_shown, names):
            path = os.path.join(folder, name)
            # A dangling link stays in the list, with size 0: it is reported as a bad file.
            size = os.stat(path).st_size if os.path.exists(path) else 0
            yield os.path.relpath(path, root).replace(os.sep, "/"), size


def _shown(name: str) -> bool:
    return not name.startswith(".")
