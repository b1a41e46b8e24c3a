from __future__ import annotations

import json
import math

import numpy as np
import pytest

from maskmim.evals.report import (
    as_json,
    build_results,
    measure_lines,
    probe_table,
    standard_error,
)

ROWS = ("raw pixels", "colour histogram", "random init", "this encoder")


def results(metrics=None, skipped=(), classes=None):
    metrics = metrics or {
        name: {
            "knn/fine/top1": 0.1234 + 0.1 * place,
            "knn/coarse/top1": 0.2 + 0.1 * place,
            "linear/fine/top1": 0.5551,
            "linear/fine/lr": 3.0,
            "linear/fine/held_out": 0.9,
            "linear/coarse/top1": 1.0,
        }
        for place, name in enumerate(ROWS)
    }
    return build_results(
        metrics,
        dimensions=dict.fromkeys(metrics, 192),
        classes=classes or {"fine": 81, "coarse": 42},
        train_images=2936,
        test_images=2485,
        evaluators={"knn": {"brick": "maskmim.evals.knn.knn", "keywords": {"k": 20}}},
        skipped=dict(skipped),
        failed={},
        seconds={"knn": 1.23456},
    )


def test_standard_error_is_the_deviation_of_shares():
    draws = np.random.default_rng(0).binomial(500, 0.3, 20_000) / 500
    assert standard_error(0.3, 500) == pytest.approx(draws.std(), rel=0.03)
    assert standard_error(0.0, 5) == standard_error(1.0, 5) == 0.0


def test_the_table_reads_as_intended():
    assert probe_table(results()).splitlines() == [
        "Top-1 accuracy in percent, 2,485 test images (2,936 for training)",
        "",
        "                    --------- kNN ----------  ----- linear probe -----",
        "                         coarse         fine       coarse         fine",
        "                     42 classes   81 classes   42 classes   81 classes",
        "----------------------------------------------------------------------",
        "raw pixels           20.0 ± 0.8   12.3 ± 0.7  100.0 ± 0.0   55.5 ± 1.0",
        "colour histogram     30.0 ± 0.9   22.3 ± 0.8  100.0 ± 0.0   55.5 ± 1.0",
        "random init          40.0 ± 1.0   32.3 ± 0.9  100.0 ± 0.0   55.5 ± 1.0",
        "this encoder         50.0 ± 1.0   42.3 ± 1.0  100.0 ± 0.0   55.5 ± 1.0",
        "----------------------------------------------------------------------",
        "",
        "± is one standard error over the test images; it does not include the spread",
        "over training seeds.",
    ]


def test_many_label_sets_stay_within_eighty_columns():
    classes = {f"set {i}": 10 * (i + 1) for i in range(6)}
    metrics = {"this encoder": {f"knn/{name}/top1": 0.5 for name in classes}}
    text = probe_table(results(metrics, classes=classes))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert all(name in text for name in classes)
    assert text.count("this encoder") == 2


def test_missing_metrics_and_unknown_evaluators_are_shown():
    metrics = {"raw pixels": {"knn/fine/top1": 0.1}, "this encoder": {"attentive/fine/top1": 0.9}}
    rows = probe_table(results(metrics)).splitlines()
    assert "attentive" in rows[2]
    assert [row.split() for row in rows[6:8]] == [
        ["raw", "pixels", "10.0", "±", "0.6", "-"],
        ["this", "encoder", "-", "90.0", "±", "0.6"],
    ]


def test_skipped_evaluators_are_named_and_wrapped():
    text = probe_table(
        results({"this encoder": {}}, skipped={"knn": "these images have no labels " * 5})
    )
    assert text.startswith("knn skipped: these images have no labels")
    assert "Top-1" not in text and max(map(len, text.splitlines())) <= 80


def test_json_holds_metrics_and_protocol_and_gives_the_same_table():
    read = json.loads(as_json(results()))
    assert read["encoders"]["this encoder"]["metrics"]["linear/fine/lr"] == 3.0
    assert read["encoders"]["this encoder"]["dimensions"] == 192
    assert read["protocol"]["evaluators"]["knn"]["keywords"] == {"k": 20}
    assert read["protocol"]["test_images"] == 2485 and read["seconds"] == {"knn": 1.23}
    assert probe_table(read) == probe_table(results())


def test_numbers_that_json_lacks_are_null():
    read = json.loads(as_json(results({"this encoder": {"knn/fine/top1": math.nan}})))
    assert read["encoders"]["this encoder"]["metrics"] == {"knn/fine/top1": None}


def test_measures_stand_in_rows_of_at_most_eighty_columns():
    long = "group/" + 44 * "n"
    table = {"rank": "rank 14.8 of 32", "note": "words " * 30, long: "1.5"}
    found = {"table": table, "skipped": {}, "failed": {"odd": "why " * 40}, "warnings": []}
    lines = measure_lines(found)
    assert lines[1] == "Measures, by metric; docs/evaluation.md explains them"
    assert lines[3] == f"{'rank':<42}rank 14.8 of 32" and lines[5].startswith(" " * 42 + "words")
    assert f"\n{long}\n{' ' * 42}1.5\n" in "\n".join(lines)
    assert max(map(len, lines)) <= 80 and any(line.startswith("odd failed: why") for line in lines)
    assert measure_lines({**found, "table": {}, "failed": {}}) == []
    assert measure_lines({"texts": [], "skipped": {}, "failed": {}, "warnings": []}) == []
