"""Cells of a comparison: which are run, and when the command ends."""

from typing import NamedTuple

import pytest

from benchmarks.cells import cell_parser, check_patterns, is_chosen, run_cells


class Cell(NamedTuple):
    name: str


CELLS = [Cell("a-0"), Cell("a-1"), Cell("b-0")]


def options_of(folder, *flags):
    return cell_parser("about", "runs").parse_args([f"--workdir={folder}", *flags])


@pytest.fixture
def ran(tmp_path):
    """Return (flags, {cell: exit code}) -> (exit code, the cells that ran)."""

    def result_file(cell):
        return tmp_path / f"{cell.name}.json"

    def command(*flags, codes=()):
        names = []

        def run(cell):
            names.append(cell.name)
            (tmp_path / "work" / cell.name).mkdir(parents=True)
            code = dict(codes).get(cell.name, 0)
            if not code:
                result_file(cell).touch()
            return code

        options = options_of(tmp_path / "work", *flags)
        return run_cells(CELLS, options, result_file=result_file, run=run), names

    return command


def test_cells_with_a_result_are_left_out_and_folders_go(ran, tmp_path):
    assert ran("--keep", codes={"a-1": 75}) == (75, ["a-0", "a-1"])
    assert (tmp_path / "work/a-0").exists()
    (tmp_path / "work/a-1").rmdir()
    assert ran() == (0, ["a-1", "b-0"])
    assert not (tmp_path / "work/b-0").exists()
    assert ran() == (0, [])


def test_no_cell_begins_after_the_minutes(ran, capsys):
    assert ran("--minutes=1e-9") == (0, [])
    assert "the same command continues" in capsys.readouterr().out


def test_patterns_choose_cells_and_unknown_ones_are_named(capsys):
    assert [cell.name for cell in CELLS if is_chosen(cell, ["a-*"])] == ["a-0", "a-1"]
    with pytest.raises(SystemExit):
        check_patterns(cell_parser("about", "runs"), ["c-*"], CELLS)
    assert "--only c-*: there is no such cell; cells are a-0, a-1, b-0" in capsys.readouterr().err
