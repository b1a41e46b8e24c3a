"""Parts of another source: every n-th record, or all the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np

from maskmim.config import kinds
from maskmim.config.ranges import NonNegativeInt, PositiveInt
from maskmim.data.records import DataError, Example, Records, manifest_digest

Source = Annotated[Callable[[], Records], kinds.SOURCE]


class SubsetRecords:
    """Some records of another source, in its order; indices: i64[n] of that source."""

    def __init__(self, whole: Records, indices: np.ndarray, title: str):
        self.labels = whole.labels
        self.fingerprint = manifest_digest([(f"{title} of {whole.fingerprint}", len(indices))])
        self._whole, self._indices = whole, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return self._whole[int(self._indices[index])]

    def name(self, index: int) -> str:
        """Return the name that the record has in the whole source."""
        return self._whole.name(int(self._indices[index]))


def every_nth(*, source: Source, every: PositiveInt, start: NonNegativeInt = 0) -> SubsetRecords:
    """Return records start, start + every, ... of a source: a smaller set, or a validation part.

    source: brick, the whole set. Where its records lie class by class, all classes keep their
    shares. Together with `all_but_every_nth` of the same keywords it is the whole set.
    Raises DataError where no record is left.
    """
    whole = source()
    return _part(whole, _chosen(len(whole), every, start), f"every {every} from {start}")


def all_but_every_nth(
    *, source: Source, every: PositiveInt, start: NonNegativeInt = 0
) -> SubsetRecords:
    """Return the records of a source that `every_nth` leaves out, to train on.

    Raises DataError where no record is left.
    """
    whole = source()
    return _part(whole, ~_chosen(len(whole), every, start), f"all but every {every} from {start}")


def _chosen(size: int, every: int, start: int) -> np.ndarray:
    """Return which of `size` records are chosen, bool[size]."""
    indices = np.arange(size)
    return (indices >= start) & ((indices - start) % every == 0)


def _part(whole: Records, chosen: np.ndarray, title: str) -> SubsetRecords:
    if not chosen.any():
        raise DataError(f"{title}: none of the {len(whole):,} records is left")
    return SubsetRecords(whole, np.flatnonzero(chosen), title)
