"""Recordings in a folder, with labels from their file names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from maskmim.data import folder
from maskmim.data.records import DataError, Example, class_names

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff")


class SoundRecords:
    """Records of the sound files below a folder, ordered by name.

    files:   the records without labels.
    names:   {label set: the name of each record's class}. classes: {label set: class names}.
    """

    def __init__(
        self,
        files: folder.FolderRecords,
        names: Mapping[str, Sequence[str]],
        classes: Mapping[str, Sequence[str]],
    ):
        self.labels = class_names(classes)
        self.fingerprint = files.fingerprint
        self._files = files
        self._numbers = {
            label_set: np.array([list(classes[label_set]).index(name) for name in column], np.int32)
            for label_set, column in names.items()
        }

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        labels = {label_set: int(column[index]) for label_set, column in self._numbers.items()}
        return self._files[index]._replace(labels=labels)

    def name(self, index: int) -> str:
        """Return the path of the file below the folder."""
        return self._files.name(index)


def recordings(
    *, path: str, pattern: str = "", classes: Mapping[str, Sequence[str]] = {}
) -> SoundRecords:
    """Return the sound files below a folder, at any depth, whose paths match a pattern.

    pattern: regular expression that the whole path below the folder must match, '/' as separator;
             other files are skipped. Its named groups are label sets: r'(?P<class>[^/]+)/.*' for
             one subfolder per class, r'(?P<digit>\\d)_(?P<speaker>[a-z]+)_\\d+\\.wav' for names
             such as 7_jackson_32.wav. Empty: all files, without labels.
    classes: {label set: names of its classes in the order of their indices}; by default the names
             that occur, sorted. Name them where training and test must agree and one may lack a
             class.
    Suffixes wav, flac, ogg, opus, mp3, aif and aiff; otherwise as `folder.unlabelled`.
    Raises DataError where the folder is missing, no file matches, the pattern is invalid, or a file
    has a class that `classes` does not name.
    """
    try:
        expression = re.compile(pattern or ".*")
    except re.error as error:
        raise DataError(f"pattern {pattern!r} is not a regular expression: {error}") from None
    root = folder.existing_folder(path)
    sounds = [f for f in sorted(folder.walk_files(root)) if f[0].lower().endswith(SUFFIXES)]
    if not sounds:
        raise DataError(
            f"no sound files ({', '.join(SUFFIXES)}) in {root} or below it: set the path to a "
            "folder with recordings"
        )
    matches = [(file, match) for file in sounds if (match := expression.fullmatch(file[0]))]
    if not matches:
        raise DataError(
            f"no sound file in {root} matches {pattern!r} (the first is {sounds[0][0]!r}): change "
            "the pattern"
        )
    unknown = sorted(set(classes) - set(expression.groupindex))
    if unknown:
        raise DataError(
            f"classes names {unknown}, but the pattern {pattern!r} has no groups of those names"
        )
    names = {key: [match[key] or "" for _, match in matches] for key in expression.groupindex}
    chosen = {key: classes[key] if key in classes else sorted(set(names[key])) for key in names}
    for key, column in names.items():
        missing = sorted(set(column) - set(chosen[key]))
        if missing:
            raise DataError(f"classes of {key!r} lack {missing[:5]}, which {root} holds")
    return SoundRecords(folder.FolderRecords(root, [file for file, _ in matches]), names, chosen)
