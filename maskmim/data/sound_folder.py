"""Recordings in a folder, with labels read from their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from maskmim.data import folder
from maskmim.data.records import DataError, Example, class_names

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff")


class SoundRecords:
    """Records of the sound files below a folder, in the order of their names.

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
            label_set: np.array([list(classes[label_set]).index(name) for name in own], np.int32)
            for label_set, own in names.items()
        }

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        labels = {label_set: int(own[index]) for label_set, own in self._numbers.items()}
        return self._files[index]._replace(labels=labels)

    def name(self, index: int) -> str:
        """The path of the file below the folder."""
        return self._files.name(index)


def recordings(
    *, path: str, pattern: str = "", classes: Mapping[str, Sequence[str]] = {}
) -> SoundRecords:
    """The sound files below a folder, nested or flat, whose path fits a pattern.

    pattern: regular expression that the whole path below the folder must match, '/' as separator;
             other files are passed over. Its named groups are label sets: r'(?P<class>[^/]+)/.*'
             for one subfolder per class, r'(?P<digit>\\d)_(?P<speaker>[a-z]+)_\\d+\\.wav' for names
             such as 7_jackson_32.wav. Empty: all files, without labels.
    classes: {label set: names of its classes in the order of their indices}; by default the names
             found, sorted. Give them where training and test must agree and one may lack a class.
    Endings wav, flac, ogg, opus, mp3, aif and aiff; otherwise as `folder.unlabelled`.
    Raises DataError where the folder is missing, no file fits, the pattern is none, or a file has a
    class that `classes` does not name.
    """
    try:
        wanted = re.compile(pattern or ".*")
    except re.error as error:
        raise DataError(f"pattern {pattern!r} is no regular expression: {error}") from None
    root = folder.existing(path)
    sounds = [f for f in sorted(folder.files_below(root)) if f[0].lower().endswith(SUFFIXES)]
    if not sounds:
        raise DataError(f"there are no sound files ({', '.join(SUFFIXES)}) in {root} or below it")
    found = [(file, match) for file in sounds if (match := wanted.fullmatch(file[0]))]
    if not found:
        raise DataError(f"no sound file in {root} fits {pattern!r}, {sounds[0][0]!r} for example")
    unknown = sorted(set(classes) - set(wanted.groupindex))
    if unknown:
        raise DataError(
            f"classes of {unknown}: the pattern {pattern!r} has no groups of those names"
        )
    names = {key: [match[key] or "" for _, match in found] for key in wanted.groupindex}
    own = {key: classes[key] if key in classes else sorted(set(names[key])) for key in names}
    for key, given in names.items():
        strange = sorted(set(given) - set(own[key]))
        if strange:
            raise DataError(f"classes of {key!r} lack {strange[:5]}, which {root} holds")
    return SoundRecords(folder.FolderRecords(root, [file for file, _ in found]), names, own)
