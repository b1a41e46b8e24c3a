"""Reading metrics.jsonl, without what writing it needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


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
