"""Every key of a config with its value, type and default: what `--print-config` shows."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from maskmim.config import check
from maskmim.config.bricks import hyperparameters, public_path, resolve
from maskmim.config.defaults import base
from maskmim.config.parse import describe, kinds_of
from maskmim.config.sections import entries

# Keys and sections that change speed, memory and what is written, but not what is learnt.
SPEED = (
    "checkpoint",
    "compare",
    "data.threads",
    "data.workers",
    "evals",
    "input.kind",
    "log",
    "mesh",
    "process",
    "train.micro_batches",
)
# The same of bricks at any place.
SPEED_OF_BRICKS = ("compute.remat", "compute.unroll")
RESULT, NO_RESULT = "[result]", "[speed]"


class Row(NamedTuple):
    """A key in words: its dotted path, value, type, default ('' where the value is it), mark."""

    key: str
    value: str
    kind: str
    default: str
    mark: str


def print_config(config: ConfigDict) -> str:
    """Return a table of every key of a config for people, a line each.

    Columns: `--config.KEY`, the value, the type and range that it takes, [result] for what changes
    what is learnt or [speed] for what does not, and the default where the value is another.
    They are as wide as each section needs.
    """
    annotations = {entry.path: entry.annotation for entry in entries(config)}
    rows = _rows(config, base(), "", annotations)
    sections = itertools.groupby(rows, key=lambda row: row.key.partition(".")[0])
    blocks = ["\n".join(_aligned(list(section))) for _, section in sections]
    head = "Keys of this config; --config.KEY=VALUE changes one"
    marks = f"{RESULT} changes what is learnt, {NO_RESULT} does not"
    return "\n\n".join([f"{head}. {marks}.", *blocks])


def _aligned(rows: Sequence[Row]) -> Iterator[str]:
    """Yield rows as lines whose columns stand below each other."""
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)]
        default = f"  (default {row.default})" if row.default else ""
        yield "  ".join([*cells, f"{row.mark:<8}"]).rstrip() + default


def mark_of(key: str) -> str:
    """Return [speed] for a key that does not change what is learnt, else [result]."""
    inside = any(key == speed or key.startswith(f"{speed}.") for speed in SPEED)
    of_stream = key.startswith("input.streams.") and ".kind." in key
    return NO_RESULT if inside or of_stream or key.endswith(SPEED_OF_BRICKS) else RESULT


def _rows(
    section: ConfigDict, defaults: Any, prefix: str, annotations: Mapping[str, Any]
) -> Iterator[Row]:
    """Yield the rows of a section.

    defaults: the section that a new config has there, if any. annotations: of every key.
    """
    if "brick" in section:
        known = hyperparameters(resolve(section.brick))
        defaults = {name: parameter.default for name, parameter in known.items()}
    for name, value in section.items():
        key = f"{prefix}{name}"
        default = defaults[name] if defaults and name in defaults else inspect.Parameter.empty
        if isinstance(value, ConfigDict):
            inner = default if isinstance(default, ConfigDict) else None
            yield from _rows(value, inner, f"{key}.", annotations)
            continue
        kind = "a brick" if name == "brick" else _kind_text(value, annotations[key])
        yield Row(key, _text(value), kind, _default_text(value, default), mark_of(key))


def _kind_text(value: Any, annotation: Any) -> str:
    """Return what a key takes in words: as its annotation says, or the type of its value."""
    if check.kind_at(annotation):
        return "a brick or None" if value is None else "a brick"
    kinds = kinds_of(value, annotation)
    return check.describe(annotation) or (describe(kinds) if kinds else "anything")


def _default_text(value: Any, default: Any) -> str:
    """Return the default in words; '' where there is none, or the value is the default."""
    if default is inspect.Parameter.empty or default == value:
        return ""
    return public_path(default) if callable(default) else _text(default)


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value else repr(value)
