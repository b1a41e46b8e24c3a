"""Files with partners in parallel folders, a folder for each stream: depth, maps, videos, sounds.

The layout is that of MultiMAE's data: root/<stream>/<class>/<name>.<ext>, with the same names in
every stream; endings may differ.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from maskmim.data import listing, sound_folder, video_folder
from maskmim.data.folder import SUFFIXES, FileRecords, list_classes, list_kinds
from maskmim.data.records import BadImage, DataError, Example, manifest_digest

Files = list[tuple[str, int]]
FileKind = Literal["image", "video", "sound"]
_SUFFIXES = {"image": SUFFIXES, "video": video_folder.SUFFIXES, "sound": sound_folder.SUFFIXES}


class StreamRecords(FileRecords):
    """Records of the files of several folders that belong together; see `FileRecords`.

    files: for each stream (path below its folder, size in bytes), in the same order.
    folders: of each stream. A record is called as its file of the first stream is; sections of a
             config are in the order of their names.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        files: Mapping[str, Files],
        classes: Sequence[str] = (),
    ):
        super().__init__(next(iter(files.values())), classes)
        self._folders = dict(folders)
        self._files = {stream: [name for name, _ in these] for stream, these in files.items()}
        self.fingerprint = manifest_digest(
            (f"{stream}/{name}", size) for stream, these in files.items() for name, size in these
        )

    def __getitem__(self, index: int) -> Example:
        example = super().__getitem__(index)
        paths = self._paths(index).items()
        return example._replace(files={name: listing.printable(str(path)) for name, path in paths})

    def _paths(self, index: int) -> dict[str, Path]:
        return {name: folder / self._files[name][index] for name, folder in self._folders.items()}

    def _content(self, index: int) -> dict[str, bytes]:
        return {stream: self._read(stream, path) for stream, path in self._paths(index).items()}

    @staticmethod
    def _read(stream: str, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            why = error.strerror or error
            raise BadImage(f"{stream} ({listing.printable(str(path))}): {why}") from error


def labelled(
    *, path: str, streams: Mapping[str, str], classes: Sequence[str] = ()
) -> StreamRecords:
    """Return the pictures of parallel folders with one subfolder per class; label set 'class'.

    path:    of the folder that holds those of the streams.
    streams: {name of a stream or field: its folder below path}. Files of one name, but for the
             ending, in the same subfolder belong together; the first stream is listed for people.
    classes: as of `folder.labelled`. Which files count and what is skipped is as there.
    Raises DataError as `folder.labelled` does, for a file without its partner in another stream,
    and for two files of one name in a stream.
    """
    folders = _folders(path, streams)
    (first, root), *others = folders.items()
    found, names = list_classes(root, classes, SUFFIXES, "image", "stream_folders")
    files = {first: found}
    for stream, folder in others:
        choice = list_kinds(folder, SUFFIXES, "image")
        listing.tell_left_out(folder, choice.left_out)
        files[stream] = [file for file in choice.files if "/" in file[0]]
    return StreamRecords(folders, _partners(files, folders), names)


def unlabelled(
    *, path: str, streams: Mapping[str, str], kinds: Mapping[str, FileKind] = {}
) -> StreamRecords:
    """Return the files of parallel folders, at any depth, without labels.

    path, streams and what is raised are as of `labelled`.
    kinds: of the files of a stream, pictures where it is not named; {'video': 'video', 'audio':
           'sound'} reads videos whose sound is a file of its own.
    """
    folders, files = _folders(path, streams), {}
    each_kind = {**dict.fromkeys(streams, "image"), **kinds}
    for stream, folder in folders.items():
        kind = each_kind[stream]
        choice = list_kinds(folder, _SUFFIXES[kind], kind)
        listing.tell_left_out(folder, choice.left_out)
        files[stream] = choice.files
    return StreamRecords(folders, _partners(files, folders))


def _folders(path: str, streams: Mapping[str, str]) -> dict[str, Path]:
    """Return the folder of each stream; DataError where there is none."""
    root = listing.existing_folder(path)
    if not streams:
        raise DataError(
            "no stream is named: give the folder of each, as streams={'image': 'rgb', 'depth': "
            "'depth'}"
        )
    return {name: listing.existing_folder(str(root / below)) for name, below in streams.items()}


def _partners(files: Mapping[str, Files], folders: Mapping[str, Path]) -> dict[str, Files]:
    """Return the files of each stream in one order; DataError where a partner is missing."""
    by_name = {stream: _by_name(these, folders[stream]) for stream, these in files.items()}
    every = sorted(set().union(*by_name.values()))
    for stream, these in by_name.items():
        missing = [name for name in every if name not in these]
        if missing:
            other = next(each for each in by_name if missing[0] in by_name[each])
            more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
            has, lacks = folders[other], listing.printable(str(folders[stream]))
            raise DataError(
                f"{lacks} has no partner of "
                f"{listing.printable(str(has / by_name[other][missing[0]][0]))}{more}: each stream "
                "needs a file of the same name; add the missing ones, or remove those without a "
                "partner"
            )
    return {stream: [these[name] for name in every] for stream, these in by_name.items()}


def _by_name(files: Files, folder: Path) -> dict[str, tuple[str, int]]:
    """Return files by their names without the ending; DataError where two have the same."""
    named: dict[str, tuple[str, int]] = {}
    for file in files:
        name = os.path.splitext(file[0])[0]
        if name in named:
            raise DataError(
                f"{listing.printable(str(folder))} has {listing.printable(named[name][0])} and "
                f"{listing.printable(file[0])}: keep one, as names without their ending say which "
                "files of the streams belong together"
            )
        named[name] = file
    return named
