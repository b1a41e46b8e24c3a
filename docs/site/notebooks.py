"""Notebooks as pages: those of colabs/ are copied beside the pages, which Sphinx reads alone."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]
# The badge is a picture of another host; its text stays as the link.
BADGE = "![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)"


def copy_notebooks(app: Sphinx) -> None:
    """Copy colabs/*.ipynb to docs/notebooks/, which git ignores; their outputs are shown as stored.

    The badge becomes a link of text. A copy is written only where it differs, so that unchanged
    notebooks are not read again.
    """
    target = DOCS / "notebooks"
    there = {path.name: path for path in DOCS.parent.glob("colabs/*.ipynb")}
    for old in target.glob("*.ipynb"):
        if old.name not in there:
            old.unlink()
    for name, path in there.items():
        copy = target / name
        text = path.read_text(encoding="utf-8").replace(BADGE, "Open in Colab")
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            target.mkdir(exist_ok=True)
            copy.write_text(text, encoding="utf-8")


def list_notebooks(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add the menu of the notebooks to their page; a checkout may have none."""
    names = sorted(f"notebooks/{path.stem}" for path in DOCS.glob("notebooks/*.ipynb"))
    if docname == "notebooks" and names:
        source[0] += "\n".join(["\n```{toctree}", ":maxdepth: 1", "", *names, "```\n"])


def setup(app: Sphinx) -> None:
    """Connect with Sphinx: copy before it looks for pages."""
    app.connect("builder-inited", copy_notebooks)
    app.connect("source-read", list_notebooks)
