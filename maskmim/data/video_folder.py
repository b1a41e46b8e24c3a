"""Video files in folders, with one folder per class or without classes."""

from __future__ import annotations

from collections.abc import Sequence

from maskmim.data import listing
from maskmim.data.folder import FolderRecords, list_classes, list_kinds

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".webm", ".mkv", ".avi", ".divx", ".mpg",
    ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".wmv", ".asf",
    ".flv", ".f4v", ".ogv", ".ogm", ".webp", ".gif", ".apng",
)  # fmt: skip


def unlabelled(*, path: str) -> FolderRecords:
    """Return all video files below a folder, at any depth, without labels; otherwise as `folder`.

    The suffixes are SUFFIXES, in any case; other files are counted by kind in one line on stderr.
    Raises DataError where the folder is missing or holds no videos, or where a folder in it cannot
    be read.
    """
    root = listing.existing_folder(path)
    choice = list_kinds(root, SUFFIXES, "video")
    listing.tell_left_out(root, choice.left_out)
    return FolderRecords(root, choice.files)


def labelled(*, path: str, classes: Sequence[str] = ()) -> FolderRecords:
    """Return the video files in one subfolder per class, at any depth below it; label set 'class'.

    classes: names of the subfolders in the order of their class indices; by default those that
    hold videos, sorted by name. Skips files beside the subfolders, which are counted with others.
    Raises DataError as `folder.labelled`.
    """
    root = listing.existing_folder(path)
    return FolderRecords(root, *list_classes(root, classes, SUFFIXES, "video", "video_folder"))
