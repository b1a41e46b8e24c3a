"""Reading metrics.jsonl and results.json, without what writing them needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The encoder of the run itself, among those of a results.json.
OURS = "this encoder"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics.jsonl in file order, dicts with 'step' and metrics.

    A number that was not finite is None. Skips incomplete lines, which a kill or a full disk leaves
    behind. Returns [] where the file does not exist.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return [row for row in map(_from_line, text.splitlines()) if row is not None]


def _from_line(text: str) -> dict[str, Any] | None:
    try:
        row = json.loads(text)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def flat_metrics(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of a results.json, by the names that they have in metrics.jsonl."""
    places = (
        ("reconstruction",),
        ("probes", "encoders", OURS, "metrics"),
        ("measures", "metrics"),
    )
    found: dict[str, Any] = {}
    for place in places:
        part: Any = results
        for name in place:
            part = part.get(name) if isinstance(part, Mapping) else None
        found |= part if isinstance(part, Mapping) else {}
    return found
