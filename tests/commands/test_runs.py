"""`python -m maskmim.runs`: what it prints, what it writes, and what it refuses."""

import json

import pytest
from PIL import Image

from maskmim import errors, runs
from maskmim.runtime import exits
from tests.reporting.runs_on_disk import results_at, write_run


@pytest.fixture
def folder(tmp_path):
    """Three runs, one of which is damaged."""
    place = tmp_path / "runs"
    write_run(place / "a", during={"knn/fine/top1": 0.25})
    write_run(place / "b", flags=["mask.ratio=0.5"], results=results_at(20), checkpoint=20)
    write_run(place / "broken")
    (place / "broken" / "config.json").write_text("{")
    return place


def run(*words):
    return exits.run(runs.main, [str(word) for word in words])


def test_runs_are_listed_the_best_first(folder, capsys):
    assert run(folder, "--sort", "knn/fine/top1") == errors.DONE
    said = capsys.readouterr()
    names = [line.split()[0] for line in said.out.splitlines()[4:7]]
    assert names == ["b", "a", "broken"]
    assert "broken: config.json is damaged" in said.out and not said.err


def test_a_column_that_nobody_has_is_told_beside_the_table(folder, capsys):
    assert run(folder, "--sort", "knn/fine/top2", "--json") == errors.DONE
    said = capsys.readouterr()
    assert [row["name"] for row in json.loads(said.out)] == ["a", "b", "broken"]
    assert "no run has knn/fine/top2; did you mean knn/fine/top1" in said.err


def test_comparing_writes_one_picture_and_nothing_else(folder, tmp_path, capsys):
    before = sorted(folder.rglob("*"))
    out = tmp_path / "new" / "compared.png"
    assert run("--compare", out, folder / "a", folder / "b") == errors.DONE
    said = capsys.readouterr().out
    assert f"The picture is {out}" in said and "mask.ratio" in said and "broken" not in said
    assert Image.open(out).size[0] > 1000 and sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{}/nowhere"], "there is no folder"),
        (["{}/a/../../empty"], "no run in or below"),
        ([], "give folders of runs"),
        (["{}", "--compare", "{}/a"], "give the picture to write first"),
        (["{}/a", "--compare", "{}/x.png"], "takes two runs or more; there is only a"),
        (["{}", "--json", "--csv"], "not allowed with"),
        (["{}", "--srot", "name"], "did you mean --sort"),
    ],
)
def test_mistakes_are_sentences(words, sentence, folder, capsys):
    (folder.parent / "empty").mkdir()
    assert run(*(word.format(folder) for word in words)) == errors.USAGE
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said
