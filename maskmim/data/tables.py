"""Tables of numbers with missing cells: sources, and rows on their way into a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from maskmim.config.ranges import FractionBelowOne, PositiveInt, Seed
from maskmim.data.missing_cells import Mechanism, removed_cells
from maskmim.data.read_csv import read_csv
from maskmim.data.records import BadImage, DataError, Example, class_names, manifest_digest

# Added to the range of a column, as in the official code.
EPSILON = 1e-8


class TableRecords:
    """Records of the rows of a table, f32[d, 1] each; every observed value lies in [0, 1].

    cells:   f64[n, d], NaN where missing. columns: their names.
    removed: bool[n, d] further cells that are taken away, whose values are known.
    labels, classes: as of `arrays.ArrayRecords`. title: a record is named title[index].
    A column's least and largest observed value become 0 and 1; what was removed has no part in
    it, and may lie outside.

    observed: f64[n, d] the cells of the records in units of the table, NaN where `missing`.
    low, high: f64[d], a column's least and largest of them.
    truth: f32[n, d] what the removed cells held, scaled alike; NaN at every other cell.
    Raises DataError for a column of which nothing is observed.
    """

    def __init__(
        self,
        cells: np.ndarray,
        columns: Sequence[str],
        *,
        removed: np.ndarray | None = None,
        labels: Mapping[str, np.ndarray] = {},
        classes: Mapping[str, Sequence[str]] = {},
        title: str,
    ):
        removed = np.zeros(cells.shape, bool) if removed is None else removed & ~np.isnan(cells)
        self.observed = np.where(removed, np.nan, np.asarray(cells, np.float64))
        self.missing = np.isnan(self.observed)
        if empty := [columns[place] for place in np.flatnonzero(self.missing.all(axis=0))]:
            raise DataError(
                f"{title}: nothing is observed of the column {empty[0]!r}: leave it out, or remove "
                "a smaller share of the cells"
            )
        self.columns = tuple(columns)
        self.low = np.nanmin(self.observed, axis=0)
        self.high = np.nanmax(self.observed, axis=0)
        self._rows = self.scaled(self.observed)
        self.truth = np.where(removed, self.scaled(cells), np.float32(np.nan))
        self.labels = class_names(classes)
        digest = hashlib.sha256(self._rows.tobytes()).hexdigest()
        self.fingerprint = manifest_digest([(f"{title} {digest}", self._rows.size)])
        self._labels = {name: np.asarray(values, np.int32) for name, values in labels.items()}
        self._title = title

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        labels = {name: int(values[index]) for name, values in self._labels.items()}
        return Example(self._rows[index][:, None], labels)

    def name(self, index: int) -> str:
        """Return the title and the index."""
        return f"{self._title}[{index}]"

    def scaled(self, cells: np.ndarray) -> np.ndarray:
        """Return cells [..., d] in units of the records, f32."""
        scaled = (cells - self.low) / (self.high - self.low + EPSILON)
        return scaled.astype(np.float32)

    def in_units(self, rows: np.ndarray) -> np.ndarray:
        """Return rows [..., d] of the records' units in those of the table, f64."""
        return rows.astype(np.float64) * (self.high - self.low + EPSILON) + self.low


def csv(
    *,
    path: str,
    label: str = "",
    remove: FractionBelowOne = 0.0,
    mechanism: Mechanism = "mcar",
    seed: Seed = 0,
) -> TableRecords:
    """Return the rows of a file of numbers with a line of column names, see `read_csv.read_csv`.

    path:   of the file; cells that are empty, 'nan', 'na', 'null' or '?' are missing.
    label:  column of classes, which becomes the label set of its name; '' for none.
    remove: share of the other cells that are taken away to measure how well they are predicted,
            mechanism: how they are chosen, see `missing_cells.removed_cells`; seed: of the choice.
    Raises DataError for a file that cannot be read so.
    """
    read = read_csv(path, label)
    gone = removed_cells(np.random.default_rng(seed), read.cells, share=remove, mechanism=mechanism)
    names = {label: read.classes} if label else {}
    labels = {label: read.labels} if label else {}
    return TableRecords(
        read.cells, read.columns, removed=gone, labels=labels, classes=names, title=path
    )


def factors(
    *,
    count: PositiveInt = 512,
    columns: PositiveInt = 8,
    hidden: PositiveInt = 2,
    noise: FractionBelowOne = 0.1,
    remove: FractionBelowOne = 0.3,
    mechanism: Mechanism = "mcar",
    seed: Seed = 0,
) -> TableRecords:
    """Return a synthetic table whose columns are smooth functions of a few hidden numbers (ours).

    A column is sin(w . z + b) of `hidden` standard normal numbers z of the row, w of length 1.5,
    plus normal noise of deviation `noise`. Label set 'sign': whether the first hidden number is
    positive. remove, mechanism: as of `csv`. seed: of everything.
    """
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((hidden, columns))
    weights *= 1.5 / np.linalg.norm(weights, axis=0)
    numbers = rng.standard_normal((count, hidden))
    cells = np.sin(numbers @ weights + rng.uniform(-1.5, 1.5, columns))
    cells = cells + noise * rng.standard_normal(cells.shape)
    return TableRecords(
        cells,
        [f"x{place}" for place in range(columns)],
        removed=removed_cells(rng, cells, share=remove, mechanism=mechanism),
        labels={"sign": (numbers[:, 0] > 0).astype(np.int32)},
        classes={"sign": ("negative", "positive")},
        title="factors",
    )


def row(rng: np.random.Generator, encoded: np.ndarray, channels: PositiveInt = 1) -> np.ndarray:
    """Return a row as it is stored, f32[d, 1], NaN where missing; not random.

    Raises BadImage for what is no row of one value a column.
    """
    values = np.asarray(encoded)
    if values.dtype.kind != "f" or values.ndim != 2 or values.shape[1] != channels:
        raise BadImage(f"{values.dtype}{list(values.shape)} where a row of a table is expected")
    return values.astype(np.float32, copy=False)


def complete(rng: np.random.Generator, row: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return a row f32[d, 1] as it is, for networks to which every cell is there; not random.

    Raises DataError for missing cells, and where rows have another number of columns than
    input.size.
    """
    if len(row) != size[0]:
        raise DataError(
            f"the table has {len(row)} columns, input.size is {size[0]}: "
            f"set input.size to {len(row)}"
        )
    if np.isnan(row).any():
        gaps = ", ".join(map(str, np.flatnonzero(np.isnan(row[:, 0]))))
        raise DataError(
            f"the columns {gaps}, counted from 0, are missing in a row of a table: leave such rows "
            "out, or fill them in by a run of --config remasker"
        )
    return row


def filled(
    rng: np.random.Generator,
    arrays: Mapping[str, np.ndarray],
    size: Mapping[str, tuple[int, ...]],
    *,
    table: str = "table",
    missing: str = "missing",
) -> dict[str, np.ndarray]:
    """Return a row with 0 in place of NaN, and which cells these are; not random.

    arrays:  {table: f32[d, 1]}. size: of the stream and of the field.
    table, missing: names of the stream and of the field.
    Returns {table: f32[d, 1], missing: bool[d]}. Raises DataError without the field, and where
    rows have another number of columns than input.size.
    """
    if missing not in size:
        raise DataError(
            f"an example has no field {missing!r}: set input.fields.{missing}.shape to the number "
            "of columns and its dtype to bool"
        )
    values = arrays[table]
    if len(values) != size[table][0]:
        raise DataError(
            f"the table has {len(values)} columns, input.size is {size[table][0]}: set input.size "
            f"and input.fields.{missing}.shape to {len(values)}"
        )
    absent = np.isnan(values)
    return {table: np.where(absent, np.float32(0.0), values), missing: absent[:, 0]}
