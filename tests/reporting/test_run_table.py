"""The table of runs: its width, what stands in it, and how it is sorted."""

import csv
import io
import json

import pytest

from maskmim.reporting.runs.columns import evaluations, sort_runs, unknown, value_of
from maskmim.reporting.runs.find import find_runs
from maskmim.reporting.runs.table import csv_text, json_text, text_table
from tests.reporting.runs_on_disk import results_at, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four runs: 0.5 and 0.25 of kNN, none, and one whose loss is not finite."""
    found = tmp_path_factory.mktemp("runs")
    write_run(found / "b-half", losses=(3.0, 0.3), results=results_at(20), checkpoint=20)
    write_run(found / "a-quarter", losses=(2.0, 0.2), during={"knn/fine/top1": 0.25})
    write_run(found / "c-none", flags=["mask.ratio=0.5"], losses=(1.0, 0.1))
    write_run(found / "d-nan", losses=(1.0, None))
    return found


@pytest.fixture(scope="module")
def runs(folder):
    return find_runs([str(folder)])


@pytest.mark.parametrize(
    ("column", "reverse", "order"),
    [
        ("name", False, "abcd"),
        ("name", True, "dcba"),
        ("knn/fine/top1", False, "bacd"),
        ("knn/fine/top1", True, "abcd"),
        ("loss", False, "cabd"),
        ("reconstruction/mse", False, "bacd"),
        ("mask.ratio", False, "cabd"),
        ("nothing/such", False, "abcd"),
    ],
)
def test_runs_without_a_value_stand_last(runs, column, reverse, order):
    ordered = sort_runs(runs, column, reverse=reverse)
    assert "".join(run.name[0] for run in ordered) == order


def test_lower_errors_and_higher_scores_come_first(tmp_path):
    for name, value in (("x", 0.5), ("y", 0.25)):
        write_run(tmp_path / name, during={"reconstruction/mse": value, "knn/a/top1": value})
    found = find_runs([str(tmp_path)])
    assert [run.name for run in sort_runs(found, "reconstruction/mse")] == ["y", "x"]
    assert [run.name for run in sort_runs(found, "knn/a/top1")] == ["x", "y"]


def test_the_table_shows_what_was_asked_for(runs):
    lines = text_table(runs, ["step", "state", "knn/fine/top1", "mask", "mask.ratio", "loss"])
    lines = lines.splitlines()
    assert lines[2].split() == ["name", "step", "state", "top1", "mask", "mask.ratio", "loss"]
    rows = [line.split() for line in lines[4:8]]
    assert rows == [
        ["a-quarter", "20/?", "unfinished", "25.0%", "random", "0.75", "0.2"],
        ["b-half", "20/37", "unfinished", "50.0%", "random", "0.75", "0.3"],
        ["c-none", "20/?", "unfinished", "-", "random", "0.5", "0.1"],
        ["d-nan", "20/?", "unfinished", "-", "random", "0.75", "nan"],
    ]
    assert lines[-1] == "4 runs: 4 unfinished"


def test_values_come_from_evaluations_metrics_and_config(runs):
    run = runs[1]
    columns = ("knn/fine/top1", "grad_norm", "method", "mask", "train.batch_size", "optim.nothing")
    assert [value_of(run, column) for column in columns] == [
        0.5,
        0.25,
        "masked",
        "random",
        16,
        None,
    ]
    assert evaluations(runs)[:3] == ["knn/fine/top1", "linear_probe/fine/top1", "effective_rank"]


def test_columns_that_nobody_has_are_told_with_the_nearest(runs):
    assert unknown(runs, ["knn/fine/top1", "mask.ratio", "method", "loss"]) == []
    (said,) = unknown(runs, ["mask.ratoi"])
    assert said.startswith("no run has mask.ratoi; did you mean mask.ratio")
    assert unknown(runs, ["zzzzzzzz"]) == ["no run has zzzzzzzz"]


@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize("columns", [(), ("step", *(f"probe{i}/fine/top1" for i in range(30)))])
def test_no_line_is_wider_than_the_width(width, columns, tmp_path):
    many = {f"probe{i}/fine/top1": 0.5 for i in range(30)} | {"an_evaluation_of_a_long_name": 1e-9}
    name = "a-long-folder/" * 4 + "run-{}"
    for number in range(3):
        write_run(tmp_path / name.format(number), during=many)
    broken = tmp_path / "damaged-in-all-of-its-files-and-with-a-long-name-too"
    write_run(broken, results=[])
    (broken / "config.json").write_text("")
    text = text_table(find_runs([str(tmp_path)]), columns, width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    assert "run-0" in words and "run-2" in words and "results.json is damaged" in words
    shown = text.count("50.0%") // 3
    assert shown == 30 if columns else (width - 60) / 40 <= shown < 30
    assert ("Not shown" in text) == (not columns)


def test_json_has_all_numbers_in_full(runs):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    rows = json.loads(json_text(runs, ["mask.ratio"]), parse_constant=refuse)
    assert [row["name"] for row in rows] == ["a-quarter", "b-half", "c-none", "d-nan"]
    half = rows[1]
    assert half["evaluated"]["linear_probe/fine/top1"] == 0.625
    assert (half["step"], half["total"], half["columns"]) == (20, 37, {"mask.ratio": 0.75})
    assert rows[3]["loss"] is None and half["evaluated"]["reconstruction/psnr"] is None


def test_csv_has_a_column_for_each_number(runs):
    rows = list(csv.DictReader(io.StringIO(csv_text(runs))))
    assert [row["knn/fine/top1"] for row in rows] == ["0.25", "0.5", "", ""]
    chosen = list(csv.DictReader(io.StringIO(csv_text(runs, ["grad_norm"]))))
    assert chosen[0]["grad_norm"] == "0.25" and "knn/fine/top1" not in chosen[0]
