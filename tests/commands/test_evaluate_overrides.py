"""Which keys `evaluate` may change of a run, and where its results go."""

import json
from pathlib import Path

import pytest

from maskmim.config import ConfigError
from maskmim.evals.results_file import file_of_settings
from maskmim.evaluate import (
    EVALUATION_SECTIONS,
    OF_RUNS,
    check_overrides,
    parse_names,
    place_of_results,
)
from maskmim.models.layers.compute import compute
from maskmim.models.layers.errors import ModelError


def test_keys_of_the_evaluation_may_change():
    check_overrides(["evals.batch_size=8", "mesh.data=1"], EVALUATION_SECTIONS, OF_RUNS)


@pytest.mark.parametrize("text", ["mask.ratio=0.5", "seed=1", "evalss.batch_size=8"])
def test_keys_that_the_run_was_trained_with_may_not(text):
    with pytest.raises(ConfigError, match=r"evals and mesh only, as .* was trained with"):
        check_overrides([text], EVALUATION_SECTIONS, OF_RUNS)


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_no_name_is_a_mistake(text):
    with pytest.raises(ConfigError, match="names no evaluation: give names"):
        parse_names(text)


def test_names_of_evaluations_may_have_blanks_and_count_once():
    assert parse_names("knn, linear_probe,knn,") == ("knn", "linear_probe")


def test_an_unknown_dtype_is_named_with_the_known_ones():
    with pytest.raises(ModelError, match="'float8': use float32 or bfloat16"):
        compute(dtype="float8")


def test_results_go_where_they_are_asked_to(tmp_path):
    run, name = Path("runs/it"), "results-knn.json"
    shared = name, "images"
    assert place_of_results(None, run, name) == (run, *shared)
    assert place_of_results("new/folder", run, name) == (Path("new/folder"), *shared)
    mine = place_of_results("new/mine.json", run, name)
    assert mine == (Path("new"), "mine.json", "images-mine")
    whole = place_of_results("new/results.json", run, name)
    assert whole == (Path("new"), "results.json", "images")
    assert place_of_results("~/x", run, name) == (Path.home() / "x", *shared)
    with pytest.raises(ConfigError, match="names no folder"):
        place_of_results("", run, name)
    (tmp_path / "odd.json").mkdir()
    odd = tmp_path / "odd.json"
    assert place_of_results(str(odd), run, name) == (odd, *shared)


def test_results_of_other_settings_stay(tmp_path):
    first, other = ["evals.batch_size=8"], ["evals.batch_size=4"]

    def place(overrides):
        file = file_of_settings(tmp_path, ("knn", "cka"), overrides)
        (tmp_path / file).write_text(json.dumps({"step": 1, "overrides": overrides}))
        return file

    assert [place([]), place(first), place(other)] == [
        "results-knn+cka.json",
        "results-knn+cka-2.json",
        "results-knn+cka-3.json",
    ]
    assert place(first) == "results-knn+cka-2.json"  # replaced by its own kind
    (tmp_path / "results-knn+cka.json").write_text("{")  # torn: nothing to lose
    assert place(other) == "results-knn+cka.json"
