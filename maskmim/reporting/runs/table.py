"""A table of runs as text of a limited width, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from maskmim.errors import count_of
from maskmim.reporting.runs.columns import FIRST, evaluations, value_of
from maskmim.reporting.runs.summary import RunSummary

WIDTH, GAP = 100, 2
LONGEST_NAME, LONGEST_TEXT = 36, 20
NOTHING = "-"


def text_table(runs: Sequence[RunSummary], columns: Sequence[str] = (), width: int = WIDTH) -> str:
    """Return the runs as text: a line each, sentences on broken files, what else could be shown.

    columns: their names; () for FIRST and as many evaluations as the width has room for. Columns
             that do not fit continue in another block, behind the names.
    """
    wanted = list(columns) if columns else [*FIRST, *evaluations(runs)]
    rows = {name: [_text(name, run) for run in runs] for name in dict.fromkeys(["name", *wanted])}
    blocks = _blocks(rows, width)
    if not columns:
        blocks = blocks[:1]
    lines = [line for block in blocks for line in [*_block_lines(rows, block), ""]]
    lines += _wrapped(_states(runs), width)
    for run in runs:
        if run.problems:
            lines += _wrapped(f"{run.name}: {'; '.join(run.problems)}", width)
    hidden = [name for name in rows if not any(name in block for block in blocks)]
    if hidden:
        lines += _wrapped(f"Not shown, see --columns: {', '.join(hidden)}", width)
    return "\n".join(lines)


def _states(runs: Sequence[RunSummary]) -> str:
    counts = Counter(run.state for run in runs)
    listed = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    return f"{count_of(len(runs), 'run')}: {listed}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=True
    )


def _head(column: str) -> list[str]:
    """Return the lines of a column's head: the parts of its name."""
    return column.split("/")


def _width(column: str, cells: Sequence[str]) -> int:
    return max(map(len, [*_head(column), *cells]))


def _blocks(rows: Mapping[str, Sequence[str]], width: int) -> list[list[str]]:
    """Return the names of the columns of each block; each begins with the names of the runs."""
    blocks = [["name"]]
    used = first = _width("name", rows["name"])
    for name, cells in rows.items():
        if name == "name":
            continue
        need = GAP + _width(name, cells)
        if used + need > width and len(blocks[-1]) > 1:
            blocks.append(["name"])
            used = first
        blocks[-1].append(name)
        used += need
    return blocks


def _block_lines(rows: Mapping[str, Sequence[str]], columns: Sequence[str]) -> list[str]:
    heads = {name: _head(name) for name in columns}
    height = max(map(len, heads.values()))
    widths = {name: _width(name, rows[name]) for name in columns}
    is_left = {name: not any(map(_is_number, rows[name])) for name in columns}

    def line(cells: Mapping[str, str]) -> str:
        padded = [
            f"{cells[name]:<{widths[name]}}" if is_left[name] else f"{cells[name]:>{widths[name]}}"
            for name in columns
        ]
        return (" " * GAP).join(padded).rstrip()

    above = [
        line({name: ([""] * (height - len(head)) + head)[i] for name, head in heads.items()})
        for i in range(height)
    ]
    rule = "-" * (sum(widths.values()) + GAP * (len(columns) - 1))
    body = [line({n: rows[n][i] for n in columns}) for i in range(len(rows["name"]))]
    return [*above, rule, *body]


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or (text[:1] == "-" and text[1:2].isdigit())


def _text(column: str, run: RunSummary) -> str:
    """Return a cell."""
    if column == "name":
        return _shortened(run.name, LONGEST_NAME)
    if column == "step":
        total = "?" if run.total is None else f"{run.total:,}"
        return f"{run.step:,}/{total}"
    return format_value(column, value_of(run, column))


def format_value(column: str, value: Any) -> str:
    """Return a value as text: shares that are accuracies in percent, other numbers in 4 digits."""
    if value is None:
        return NOTHING
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf"
    if column.endswith("top1") and isinstance(value, int | float):
        return f"{100 * value:.1f}%"
    if isinstance(value, float):
        return f"{int(value):,}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"
    return _shortened(str(value), LONGEST_TEXT)


def _shortened(text: str, longest: int) -> str:
    """Return a text of limited length: its end, which tells runs and functions apart."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"…{text[1 - longest :]}"


def json_text(runs: Sequence[RunSummary], columns: Sequence[str] = ()) -> str:
    """Return the runs as a JSON list, all evaluations in full; what is not finite is null."""
    rows = [
        {
            **_row(run, ()),
            "evaluated": {name: _plain(value) for name, value in run.evaluated.items()},
            **({"columns": {c: _plain(value_of(run, c)) for c in columns}} if columns else {}),
            "problems": run.problems,
        }
        for run in runs
    ]
    return json.dumps(rows, indent=2, allow_nan=False) + "\n"


def csv_text(runs: Sequence[RunSummary], columns: Sequence[str] = ()) -> str:
    """Return the runs as CSV with a header: all evaluations, or the columns asked for, in full."""
    rows = [
        {**_row(run, columns or evaluations(runs)), "problems": "; ".join(run.problems)}
        for run in runs
    ]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _row(run: RunSummary, columns: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": run.name,
        "workdir": str(run.workdir),
        "method": value_of(run, "method"),
        "step": run.step,
        "total": run.total,
        "state": run.state,
        "loss": _plain(run.loss),
    }
    return row | {name: _plain(value_of(run, name)) for name in columns if name not in row}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, int | float | str) else str(value)
