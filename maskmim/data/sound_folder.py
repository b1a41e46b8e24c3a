"""Recordings in a folder, with labels from their file names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from maskmim.data import folder, listing
from maskmim.data.records import DataError, Example, class_names

SUFFIXES = (
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au",
    ".snd", ".caf", ".w64", ".rf64", ".voc", ".sph",
)  # fmt: skip


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
    The suffixes are SUFFIXES; otherwise as `folder.unlabelled`. Files that do not match are counted
    with those of other kinds.
    Raises DataError where the folder is missing, a folder in it cannot be read, no file matches,
    the pattern is invalid, or a file has a class that `classes` does not name.
    """
    try:
        expression = re.compile(pattern or ".*")
    except re.error as error:
        raise DataError(f"pattern {pattern!r} is not a regular expression: {error}") from None
    root = listing.existing_folder(path)
    sounds, left_out = folder.list_kinds(root, SUFFIXES, "sound file")
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
    if len(matches) < len(sounds):
        left_out["sound file(s) that the pattern does not match"] = len(sounds) - len(matches)
    listing.tell_left_out(root, left_out)
    return SoundRecords(folder.FolderRecords(root, [file for file, _ in matches]), names, chosen)
