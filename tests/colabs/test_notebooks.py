"""Notebooks are what their Python files say; slow: each runs to its end on two CPU cores."""

import time

import nbformat
import pytest

from tests.running import ROOT
from tools import make_notebooks

SOURCES = make_notebooks.sources()
BADGE = "https://colab.research.google.com/github/maskmim/maskmim/blob/main/colabs/{name}.ipynb"
MOST_BYTES, MOST_SECONDS, MOST_LINES_OF_WARNINGS = 600_000, 180, 3

each = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def cells(notebook):
    """Kinds and texts of the cells, which outputs do not change."""
    return [(cell.id, cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("notebooks")


def test_every_notebook_has_a_source():
    made = {path.stem for path in make_notebooks.COLABS.glob("*.ipynb")}
    assert made == {path.stem for path in SOURCES}


@each
def test_a_notebook_is_made_of_its_source(source):
    stored = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert cells(stored) == cells(make_notebooks.notebook_of(source))


@each
def test_outputs_are_stored_and_small(source):
    path = source.with_suffix(".ipynb")
    stored = nbformat.read(path, as_version=4)
    outputs = [output for cell in stored.cells for output in cell.get("outputs", ())]
    data = [set(output.get("data", ())) for output in outputs]
    assert any({"image/png", "image/jpeg"} & kinds for kinds in data)
    assert not any(make_notebooks.WIDGET in kinds for kinds in data)
    assert "error" not in {output.output_type for output in outputs}
    assert len(make_notebooks.complaints(stored)) <= MOST_LINES_OF_WARNINGS
    assert path.stat().st_size <= MOST_BYTES


@each
def test_notebooks_begin_alike(source):
    badge, install, *_ = make_notebooks.notebook_of(source).cells
    others = make_notebooks.notebook_of(SOURCES[0]).cells
    assert badge.cell_type == "markdown" and BADGE.format(name=source.stem) in badge.source
    assert install.source == others[1].source


def test_the_jax_that_is_kept_is_the_one_that_is_required():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = next(line for line in lines if line.startswith("jax"))
    assert f'Requirement("{required}")' in make_notebooks.notebook_of(SOURCES[0]).cells[1].source


@pytest.mark.slow
@each
def test_a_notebook_runs_in_three_minutes(source, folder):
    notebook, began = make_notebooks.notebook_of(source), time.monotonic()
    make_notebooks.execute(notebook, folder)
    assert time.monotonic() - began <= MOST_SECONDS
    assert len(make_notebooks.complaints(notebook)) <= MOST_LINES_OF_WARNINGS
