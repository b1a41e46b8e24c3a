"""Notebooks as pages: those of colabs/ are copied beside the pages, which Sphinx reads alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]


def copy_notebooks(app: Sphinx) -> None:
    """Copy colabs/*.ipynb to docs/notebooks/, which git ignores; their outputs are shown as stored.

    A copy is written only where it differs, so that unchanged notebooks are not read again.
    """
    target = DOCS / "notebooks"
    there = {path.name: path for path in DOCS.parent.glob("colabs/*.ipynb")}
    for old in target.glob("*.ipynb"):
        if old.name not in there:
            old.unlink()
    for name, path in there.items():
        copy = target / name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            target.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)


def list_notebooks(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add the menu of the notebooks to their page; a checkout may have none."""
    names = sorted(f"notebooks/{path.stem}" for path in DOCS.glob("notebooks/*.ipynb"))
    if docname == "notebooks" and names:
        source[0] += "\n".join(["\n```{toctree}", ":maxdepth: 1", "", *names, "```\n"])


def setup(app: Sphinx) -> None:
    """Connect with Sphinx: copy before it looks for pages."""
    app.connect("builder-inited", copy_notebooks)
    app.connect("source-read", list_notebooks)
