"""Make the notebooks of colabs/ from the Python files of the same names, and run them.

example:
  python -m tools.make_notebooks masks train     # without names: all of colabs/*.py

Each `colabs/NAME.py`, in jupytext's percent format, becomes `colabs/NAME.ipynb` with the outputs of
a run on this machine's CPU, in --folder, where notebooks find and leave the runs that they share.
Needs requirements-dev.txt. A notebook that fails is not written.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
COLABS = ROOT / "colabs"
FOLDER = ROOT / "runs" / "colabs"
WIDGET = "application/vnd.jupyter.widget-view+json"
JPEG_QUALITY, JPEG_SHARE = 85, 0.7
# What a training writes to stderr as it goes.
PROGRESS = re.compile(r"step +[\d,]+/[\d,]+ ")
# Of one cell, on a machine that does other work too.
SECONDS = 1800


def sources() -> list[Path]:
    """Return the Python files that notebooks are made of, sorted."""
    return sorted(COLABS.glob("*.py"))


def notebook_of(source: Path) -> NotebookNode:
    """Return the notebook of a Python file in the percent format, without outputs.

    The same file gives the same notebook: ids of cells are their numbers.
    """
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = NotebookNode(
        kernelspec=NotebookNode(display_name="Python 3", language="python", name="python3"),
        language_info=NotebookNode(name="python"),
    )
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", NotebookNode()
    return notebook


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run all cells in a folder, on the CPU, with this checkout importable; outputs join them.

    PYTHONPATH stays behind the checkout.

    Raises nbclient's CellExecutionError where a cell fails, CellTimeoutError after SECONDS.
    """
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    client.execute(env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths})


def clean(notebook: NotebookNode) -> None:
    """Leave what readers without a kernel can see: no widgets and no times."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        if cell.cell_type != "code":
            continue
        shown = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        cell.outputs = _joined(piece for output in shown for piece in _without_progress(output))
        for output in cell.outputs:
            if "data" in output:
                _shrink(output.data)


def _without_progress(output: NotebookNode) -> list[NotebookNode]:
    """Return an output as it is; of stderr, which pages show in red, the progress as stdout."""
    if output.get("name") != "stderr":
        return [output]
    pieces = []
    for line in output.text.splitlines(keepends=True):
        name = "stdout" if PROGRESS.match(line) else "stderr"
        pieces.append(nbformat.v4.new_output("stream", name=name, text=line))
    return pieces


def _joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Join the pieces in which a kernel sent one text."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and "name" in output and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _shrink(data: NotebookNode) -> None:
    """Keep a picture as JPEG where that is much smaller, as for photographs, otherwise as PNG."""
    if "image/png" not in data:
        return
    picture = Image.open(io.BytesIO(base64.b64decode(data.pop("image/png")))).convert("RGB")
    stored = {}
    for kind, options in (("png", {}), ("jpeg", {"quality": JPEG_QUALITY})):
        picture.save(file := io.BytesIO(), kind, optimize=True, **options)
        stored[kind] = file.getvalue()
    kind = "jpeg" if len(stored["jpeg"]) < JPEG_SHARE * len(stored["png"]) else "png"
    data.pop("image/jpeg", None)  # Pillow's pictures come as both
    data[f"image/{kind}"] = base64.b64encode(stored[kind]).decode()


def complaints(notebook: NotebookNode) -> list[str]:
    """Return the lines of stderr but progress: warnings, which readers should not see."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    texts = [output.text for output in outputs if output.get("name") == "stderr"]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return [line for line in lines if not PROGRESS.match(line)]


def make(source: Path, folder: Path) -> str:
    """Write the notebook of a Python file with the outputs of a run; return a line about it."""
    began, notebook = time.monotonic(), notebook_of(source)
    execute(notebook, folder)
    clean(notebook)
    path = source.with_suffix(".ipynb")
    nbformat.write(notebook, path)
    seconds, size = time.monotonic() - began, path.stat().st_size / 1e3
    warned = [f"  stderr: {line}" for line in complaints(notebook)]
    return "\n".join([f"{path}: {size:.0f} kB, {seconds:.0f} s", *warned])


def main(names: Iterable[str], folder: Path) -> int:
    """Make the notebooks of these names, or all; return 2 for a name that no source has."""
    there = {source.stem: source for source in sources()}
    chosen = list(names) or list(there)
    if unknown := [name for name in chosen if name not in there]:
        print(f"{', '.join(unknown)}: the notebooks are {', '.join(there)}", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        print(make(there[name], folder), flush=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a notebook, such as masks")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"to run in: {FOLDER}")
    options = parser.parse_args()
    sys.exit(main(options.names, options.folder.resolve()))
