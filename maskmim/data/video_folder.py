"""Video files in folders, with one folder per class or without classes."""

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
    """Return all video files below a folder, at any depth, without labels; otherwise as `folder`.

    Suffixes mp4, m4v, mov, webm, mkv, avi, mpg, mpeg, wmv, flv, ogv, webp and gif in any case.
    Raises DataError where the folder is missing or holds no videos.
    """
    root = folder.existing_folder(path)
    return FolderRecords(root, _list_videos(root))


def labelled(*, path: str, classes: Sequence[str] = ()) -> FolderRecords:
    """Return the video files in one subfolder per class, at any depth below it; label set 'class'.

    classes: names of the subfolders in the order of their class indices; by default those that
    hold videos, sorted by name. Skips files beside the subfolders.
    Raises DataError where the folder is missing, has no videos in subfolders, or has a subfolder
    with videos that `classes` does not name.
    """
    root = folder.existing_folder(path)
    files = [(name, size) for name, size in _list_videos(root) if "/" in name]
    subfolders = sorted({name.split("/")[0] for name, _ in files})
    unknown = sorted(set(subfolders) - set(classes)) if classes else []
    if unknown:
        raise DataError(f"{path} has subfolders that are not among the classes: {unknown[:5]}")
    if not files:
        raise DataError(
            f"{path} has no subfolders with videos, one per class: for videos without classes use "
            "maskmim.data.video_folder.unlabelled"
        )
    return FolderRecords(root, files, tuple(classes) or subfolders)


def _list_videos(root: Path) -> list[tuple[str, int]]:
    files = sorted(folder.walk_files(root))
    videos = [file for file in files if file[0].lower().endswith(SUFFIXES)]
    if not videos:
        endings = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(
            f"no videos ({endings}) in {root} or below it: set the path to a folder with videos"
        )
    return videos
