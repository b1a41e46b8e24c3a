"""Files of comma-separated values: numbers with missing cells, and a column of classes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskmim.data.records import DataError

MISSING = frozenset(("", "nan", "na", "n/a", "null", "none", "?"))
DELIMITERS = ",;\t"


class Table(NamedTuple):
    """What a file holds.

    cells: f64[n, d], NaN where missing. columns: names of the d columns.
    labels: i32[n] classes of the rows, () without a column of classes; classes: their names.
    """

    cells: np.ndarray
    columns: tuple[str, ...]
    labels: np.ndarray | tuple[()]
    classes: tuple[str, ...]


def number_columns(path: str, label: str = "") -> tuple[str, ...]:
    """Return the names of the columns of numbers of a file, as `read_csv` reads them."""
    return tuple(name for name in _lines(path)[0] if not label or name != label)


def read_csv(path: str, label: str = "") -> Table:
    """Read a file whose first line names its columns, separated by commas, semicolons or tabs.

    Cells whose text is in MISSING, in any case, are NaN; all others must be numbers.
    label: name of a column of classes, in which any text but these stands; '' for none.
    Raises DataError for a file, a column or a cell that cannot be read so; it names the cell.
    """
    columns, *rows = _lines(path)
    if not rows:
        raise DataError(f"{path} has no rows below its line of column names")
    if len(set(columns)) != len(columns):
        raise DataError(f"{path}: two columns have one name: rename one of {', '.join(columns)}")
    if label and label not in columns:
        raise DataError(f"{path} has no column {label!r}, but {', '.join(columns)}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise DataError(
                f"{path}, row {number}: {len(row)} values, but {len(columns)} column names"
            )
    kept = [place for place, name in enumerate(columns) if not label or name != label]
    cells = np.empty((len(rows), len(kept)))
    for at, place in enumerate(kept):
        for number, row in enumerate(rows):
            cells[number, at] = _number(row[place], path, number + 2, columns[place])
    names = tuple(columns[place] for place in kept)
    if not label:
        return Table(cells, names, (), ())
    texts = [row[columns.index(label)] for row in rows]
    if gaps := [number for number, text in enumerate(texts) if text.lower() in MISSING]:
        raise DataError(f"{path}, row {gaps[0] + 2}: the class {label!r} is missing")
    classes = tuple(sorted(set(texts)))
    return Table(cells, names, np.array([classes.index(text) for text in texts], np.int32), classes)


def _lines(path: str) -> list[list[str]]:
    """Return the cells of all lines but empty ones, without spaces around them."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty")
    delimiter = max(DELIMITERS, key=lines[0].count)
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]


def _number(text: str, path: str, row: int, column: str) -> float:
    if text.lower() in MISSING:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = np.inf
    if np.isfinite(value):
        return value
    raise DataError(
        f"{path}, row {row}, column {column!r}: {text!r} is no number; encode categories as "
        "numbers, name the column as data.train.label, or leave it out"
    )
