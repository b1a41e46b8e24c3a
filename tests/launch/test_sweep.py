"""The commands of a sweep: every combination once, each with a folder of its own."""

import importlib.util
import shlex

import pytest

from maskmim.configuration import load
from tests.running import ROOT

spec = importlib.util.spec_from_file_location("sweep", ROOT / "launch" / "sweep.py")
sweep = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sweep)

BASE = ["--config", "configs/colormae.py:tiny", "--workdir", "runs/sweep"]


def lines(capsys, *arguments):
    assert sweep.main([*BASE, *arguments]) == 0
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]


def test_products_and_rows_are_combined(capsys):
    product = ["--product", "mask.ratio=0.6,0.75", "seed=0,1,2"]
    together = ["--zip", "train.epochs=1,2", "optim.lr=1e-3,2e-3"]
    found = lines(capsys, *product, *together, "--config.log.every_steps=5")
    assert len(found) == 2 * 3 * 2 == len({line[-1] for line in found})
    assert all("--config.log.every_steps=5" in line for line in found)
    pairs = {
        tuple(word for word in line if "epochs" in word or "optim.lr" in word) for line in found
    }
    assert {tuple(w.rpartition("=")[2] for w in pair[:2]) for pair in pairs} == {
        ("1", "1e-3"),
        ("2", "2e-3"),
    }


def test_lines_are_arguments_that_the_configs_take(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    colours = "maskmim.masks.colour.green,maskmim.masks.uniform.random"
    scales = "data.augment.scale=(0.2,1.0),(0.5,1.0)"
    found = lines(capsys, "--product", f"mask.brick={colours}", scales)
    assert found[0][-1] == ("runs/sweep/mask.brick=green,data.augment.scale=_0.2,1.0_")
    changes = [word.removeprefix("--config.") for word in found[-1] if "--config." in word]
    config = load(found[-1][1], changes)
    assert config.mask.brick == "maskmim.masks.uniform.random"
    assert tuple(config.data.augment.scale) == (0.5, 1.0)


def test_without_values_there_is_one_run(capsys):
    assert lines(capsys) == [["--config", BASE[1], "--workdir", "runs/sweep/run"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--product", "seed"], "'seed' is no KEY=VALUE,VALUE"),
        (["--product", "seed=1", "--zip", "seed=2"], "seed is given twice"),
        (["--zip", "seed=1,2", "train.epochs=3"], "as many values each: seed has 2, train.epochs"),
    ],
)
def test_what_cannot_be_a_sweep_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        sweep.main([*BASE, *arguments])
    assert stopped.value.code == 2 and message in capsys.readouterr().err
