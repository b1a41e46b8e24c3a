"""docs/reliability.md: its tables are those of the code, and what it tells to run exists."""

import re

import pytest

from maskmim import errors
from maskmim.checkpoints import workdir
from tests.running import ROOT

TEXT = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", [errors.exit_code_table(), workdir.continuation_table()])
def test_tables_are_those_of_the_code(table):
    assert table in TEXT


def test_every_figure_has_a_row():
    rows = re.findall(r"^\| R(\d+) \|", TEXT, flags=re.MULTILINE)
    assert rows == [str(number) for number in range(1, 33)]


def test_what_it_tells_to_run_exists():
    named = set(re.findall(r"tests/[\w/]+(?:\.py)?", TEXT))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    assert (ROOT / "benchmarks/checkpoint.py").exists()
