"""A list of the images that cannot be read; too many of them end the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskmim.data.records import Records, TooManyBadImages

TOLERATED = 10


class BadFiles:
    """The list of bad files, `bad_files.txt`, from 'bad' and 'reason' of batches; each listed once.

    A line is: name, tab, the reason of the first time. A later run in the same folder appends to
    the file.
    The limit on distinct bad files is the larger of `max_bad_share * len(records)` and 10 (so that
    a small folder with a few odd files trains), but at most half of the records; max_bad_share 0
    tolerates none. Each of several processes counts the files that it reads.
    process: index of this process; all but the first write `bad_files-<process>.txt`.

    Raises TooManyBadImages from `see` above the limit.
    """

    def __init__(
        self,
        records: Records,
        folder: Path,
        *,
        max_bad_share: float = 0.01,
        process: int = 0,
    ):
        name = f"bad_files-{process}.txt" if process else "bad_files.txt"
        self.path = Path(folder) / name
        self._records = records
        self._max_bad_share = max_bad_share
        self._limit = 0.0
        if max_bad_share > 0:
            self._limit = min(max(TOLERATED, max_bad_share * len(records)), len(records) / 2)
        self._known: set[int] = set()
        self._names = _listed_names(self.path)

    @property
    def count(self) -> int:
        """Return the number of distinct bad files, including those of earlier runs."""
        return len(self._names)

    def see(self, batch: Mapping[str, Any]) -> None:
        """List the bad files of a batch. Raises TooManyBadImages above the limit."""
        new: dict[int, str] = {}
        for index, reason in zip(batch["bad"], batch["reason"], strict=True):
            if index >= 0 and index not in self._known:
                new.setdefault(int(index), reason)
        for index, reason in sorted(new.items()):
            self._known.add(index)
            name = " ".join(self._records.name(index).split())
            if name not in self._names:
                self._names.add(name)
                self._write(name, reason)
        if new and self.count > self._limit:
            raise TooManyBadImages(
                f"{self.count} of {len(self._records)} images cannot be read, more than "
                f"data.max_bad_share = {self._max_bad_share} allows: repair or remove them (listed "
                f"in {self.path}), or raise data.max_bad_share"
            )

    def _write(self, name: str, reason: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(f"{name}\t{' '.join(reason.split())}\n")


def _listed_names(path: Path) -> set[str]:
    if not path.exists():
        return set()
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return {line.split("\t")[0] for line in lines if line.strip()}
