"""Video files in folders: one folder per class, or no classes at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskmim.data import folder
from maskmim.data.folder import FolderRecords
from maskmim.data.records import DataError

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv",
    ".webp", ".gif",
)  # fmt: skip


def unlabelled(*, path: str) -> FolderRecords:
    """All video files below a folder, nested or flat, without labels; otherwise as `folder`.

    Endings mp4, m4v, mov, webm, mkv, avi, mpg, mpeg, wmv, flv, ogv, webp and gif in any case.
    Raises DataError where the folder is missing or holds no videos.
    """
    root = folder.existing(path)
    return FolderRecords(root, _videos(root))


def labelled(*, path: str, classes: Sequence[str] = ()) -> FolderRecords:
    """Video files in one subfolder per class, nested below it or not; label set 'class'.

    classes: names of the subfolders in the order of their class indices; by default those that
    hold videos, in the order of their names. Files beside the subfolders are passed over.
    Raises DataError where the folder is missing, has no videos in subfolders, or has a subfolder
    with videos that `classes` does not name.
    """
    root = folder.existing(path)
    files = [(name, size) for name, size in _videos(root) if "/" in name]
    found = sorted({name.split("/")[0] for name, _ in files})
    strange = sorted(set(found) - set(classes)) if classes else []
    if strange:
        raise DataError(f"{path} has subfolders that are not among the classes: {strange[:5]}")
    if not files:
        raise DataError(
            f"{path} has no subfolders with videos, one for each class: for videos without classes "
            "use maskmim.data.video_folder.unlabelled"
        )
    return FolderRecords(root, files, tuple(classes) or found)


def _videos(root: Path) -> list[tuple[str, int]]:
    files = sorted(folder.files_below(root))
    found = [file for file in files if file[0].lower().endswith(SUFFIXES)]
    if not found:
        endings = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(
            f"there are no videos ({endings}) in {root} or below it: set the path to a folder with "
            "videos"
        )
    return found
