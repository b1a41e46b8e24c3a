"""Runs beside each other: the picture, and the config keys in which they differ."""

import numpy as np
import pytest

from maskmim.reporting.runs import picture
from maskmim.reporting.runs.differences import difference_table, differing_keys
from maskmim.reporting.runs.find import find_runs
from tests.golden.checkpoints.record import HERE as GOLDEN
from tests.reporting.runs_on_disk import results_at, write_run


def write_several(folder, count, **changes):
    for number in range(count):
        flags = [f"mask.ratio={0.5 + 0.01 * (number // 2)}"]
        write_run(folder / f"run-{number:02}", flags=flags, **changes)
    return find_runs([str(folder)])


@pytest.mark.parametrize("count", [2, 12])
def test_every_run_has_a_curve_and_a_bar_of_its_own_look(count, tmp_path):
    runs = write_several(tmp_path, count, losses=(1.0, 0.5), results=results_at(20))
    styles = [picture._style(index, run.name) for index, run in enumerate(runs)]
    assert len({(style.colour, style.line) for style in styles}) == count
    drawn = picture.draw_runs(runs, ["knn/fine/top1"])
    assert drawn.dtype == np.uint8 and drawn.shape[1:] == (1100, 3)
    assert np.median(drawn) == 255 and (drawn < 128).any()
    assert drawn.shape[0] > picture.draw_runs(runs, []).shape[0]


def test_runs_without_numbers_are_drawn_too(tmp_path):
    runs = write_several(tmp_path / "none", 2, losses=())
    assert picture.draw_runs(runs, []).ndim == 3
    write_run(tmp_path / "none" / "some", losses=(None, 1.0), during={"rank": float("nan")})
    assert picture.draw_runs(find_runs([str(tmp_path)]), ["rank", "knn/fine/top1"]).ndim == 3


@pytest.mark.parametrize(("size", "label"), [(16, "step"), (8, "examples seen")])
def test_other_batch_sizes_are_compared_by_examples(size, label, tmp_path, monkeypatch):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", flags=[f"train.batch_size={size}"])
    figures = []
    monkeypatch.setattr(picture, "render_figure", figures.append)
    picture.draw_runs(find_runs([str(tmp_path)]), [])
    (axis,) = figures[0].axes
    assert axis.get_xlabel().startswith(label)
    ends = [line.get_xdata()[-1] for line in axis.get_lines()]
    assert ends == ([20, 20] if size == 16 else [320, 160])


def test_keys_that_differ_are_listed_by_value(tmp_path):
    runs = write_several(tmp_path, 12)
    found = differing_keys({run.name: run.config for run in runs})
    assert list(found) == ["mask.ratio"]
    assert found["mask.ratio"]["0.5"] == ["run-00", "run-01"] and len(found["mask.ratio"]) == 6
    text = difference_table(runs, 100)
    assert "mask.ratio" in text and "run-00, run-01" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_majority_stands_last_and_is_not_listed(tmp_path):
    for number in range(5):
        write_run(tmp_path / str(number), flags=["optim.lr=0.5"] * (number == 2))
    lines = difference_table(find_runs([str(tmp_path)]), 100).splitlines()
    assert lines[2].split() == ["optim.lr", "0.5", "2"]
    assert lines[3].split()[1:] == ["the", "other", "4"]


def test_a_section_that_only_some_have_is_one_line(tmp_path):
    write_run(tmp_path / "a", flags=["log.every_steps=5"])
    flags = ["log.trackers.t.brick=maskmim.reporting.trackers.trackio", "mask.ratio=0.5"]
    write_run(tmp_path / "b", flags=flags)
    lines = difference_table(find_runs([str(tmp_path)]), 100).splitlines()
    keys = [line.split()[0] for line in lines if line and not line.startswith((" ", "-"))]
    assert [key for key in keys if "." in key] == [
        "mask.ratio",
        "log.every_steps",
        "log.trackers.t.brick",
    ]


def test_configs_of_earlier_versions_are_brought_to_this_one(tmp_path):
    text = (GOLDEN / "v0.1.0" / "config.json").read_text()
    for name in "ab":
        write_run(tmp_path / name)
        (tmp_path / name / "config.json").write_text(text)
    newer = tmp_path / "b" / "config.json"
    newer.write_text(text.replace("maskmim.method.masked", "maskmim.methods.masked.masked"))
    runs = find_runs([str(tmp_path)])
    assert difference_table(runs, 100) == "Their configs are the same."
    newer.write_text(text.replace("maskmim.masks.uniform.random", "nowhere.to.be.found"))
    said = difference_table(find_runs([str(tmp_path)]), 100)
    assert "b: its config is compared as it is stored" in said and "nowhere.to.be.found" in said


def test_runs_without_a_readable_config_have_no_differences(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    (tmp_path / "b" / "config.json").write_text("[]")
    assert difference_table(find_runs([str(tmp_path)]), 100).startswith("Fewer than two")
