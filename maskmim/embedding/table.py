"""The table that is written: its columns, made of the parts one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from maskmim.embedding.parts import Parts

FEATURES, RECORD, START, END, LABEL = "features", "record", "start", "end", "label/"
TYPES = {FEATURES: np.float32, RECORD: np.int64, START: np.float64, END: np.float64}


@dataclass(frozen=True)
class Table:
    """A row an example, or a window of one.

    parts:   the rows. name: index of a file -> its name.
    classes: {label set: names of the classes}. about: what made the table, for its readers.
    """

    parts: Parts
    name: Callable[[int], str]
    row_shape: tuple[int, ...]
    classes: Mapping[str, tuple[str, ...]]
    windows: bool
    about: Mapping[str, str]

    @property
    def arrays(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """{name: (dtype, shape of a row)} of the columns of numbers, the features first."""
        found = {FEATURES: (np.dtype(np.float32), self.row_shape)}
        found |= {f"{LABEL}{key}": (np.dtype(np.int32), ()) for key in self.classes}
        if self.windows:
            found |= {key: (np.dtype(np.float64), ()) for key in (START, END)}
        return found

    def count(self) -> int:
        """Return the number of rows."""
        return sum(map(len, self.parts.column(RECORD)))

    def column(self, name: str) -> Iterator[np.ndarray]:
        """Yield a column of numbers, part after part."""
        dtype, shape = self.arrays[name]
        for column in self.parts.column(name):
            yield np.ascontiguousarray(column, dtype).reshape(len(column), *shape)

    def names(self) -> Iterator[list[str]]:
        """Yield the names of the files of the rows, part after part."""
        for files in self.parts.column(RECORD):
            yield [self.name(int(file)) for file in files]

    def describe(self) -> str:
        """Return what the table has, for people: 'features f32[10, 192], names'."""
        shape = ", ".join(map(str, (self.count(), *self.row_shape)))
        more = ", ".join(["names", *(name for name in self.arrays if name != FEATURES)])
        return f"features f32[{shape}], {more}"
