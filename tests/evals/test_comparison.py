"""The table of a run beside others: where its numbers come from, and what is said without them."""

import json
import re

import pytest

from maskmim.checkpoints.workdir import save_config
from maskmim.config.load import add, load
from maskmim.config.parse import ConfigError
from maskmim.evals.comparison import compared_runs, finish_comparison, stored_comparison

SCRATCH = ("begin.workdir=", "optim.decay=1.0")


def results(share):
    name = "label_accuracy/fine"
    own = {name: share, f"{name}/top5": 0.75, f"{name}/standard_error": 0.016, "other": 1.0}
    return {"step": 7, "measures": {"metrics": own}}


def probes(**shares):
    encoders = {
        name: {"metrics": {"linear/fine/top1": share, "linear/coarse/top1": 0.9}}
        for name, share in shares.items()
    }
    return {"step": 5, "probes": {"encoders": encoders, "protocol": {"test_images": 2100}}}


@pytest.fixture
def runs(tmp_path):
    """A fine-tuned run, its twin and the run that they began from, as folders with results."""
    config = load("finetune:tiny")
    config.begin.workdir = str(tmp_path / "a")
    add(config, compare={"from_scratch": SCRATCH})
    source = load("mae:tiny")
    source.evals = config.evals.copy_and_resolve_references()
    found = {
        "a": probes(**{"colour histogram": 0.4, "random init": 0.125, "this encoder": 0.30}),
        "b": results(0.5),
        "b/from_scratch": results(0.25),
    }
    for name, content in found.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(content))
    save_config(tmp_path / "a", source)
    return config, tmp_path


def test_the_twin_is_the_config_with_what_the_section_changes(runs):
    config, _ = runs
    twin = compared_runs(config)["from_scratch"]
    assert twin.begin.workdir == "" and twin.optim.decay == 1.0 and "compare" not in twin
    assert twin.optim.lr == config.optim.lr and twin.train.epochs == config.train.epochs
    assert compared_runs(twin) == {}
    config.compare.from_scratch = ("optim.decai=1",)
    with pytest.raises(ConfigError, match="decay"):
        compared_runs(config)


def test_the_rows_are_those_of_the_runs(runs, capsys):
    config, folder = runs
    finish_comparison(config, folder / "b")
    printed = capsys.readouterr().out
    cells = [re.split(r"\s{2,}", line) for line in printed.split("\n")]
    rows = {name: numbers for name, *numbers in cells if len(numbers) == 2}
    expected = {
        "fine-tuned from a": ["50.0 ± 1.6", "75.0"],
        "from scratch": ["25.0 ± 1.6", "75.0"],
        "linear probe of a, step 5": ["30.0 ± 1.0", "-"],
        "linear probe of a random init of its network": ["12.5 ± 0.7", "-"],
        "linear probe of colour histogram": ["40.0 ± 1.1", "-"],
    }
    assert rows == {"": ["fine", "fine, top-5"], **expected}
    stored = json.loads((folder / "b" / "results.json").read_text())
    shares = {name: row["fine"] for name, row in stored["comparison"]["top1"].items()}
    assert {name: f"{100 * share:.1f}" for name, share in shares.items()} == {
        name: texts[0].split()[0] for name, texts in expected.items()
    }
    assert stored["step"] == 7 and stored_comparison(stored).strip() in printed


def test_results_of_earlier_versions_have_top1_alone():
    stored = {"comparison": {"top1": {"this run": {"fine": 0.25}, "b": {"fine": 0.5}}}}
    lines = stored_comparison(stored).split("\n")
    assert [line.split() for line in lines[2:5]] == [
        ["fine"],
        ["this", "run", "25.0"],
        ["b", "50.0"],
    ]


def lose_results(folder):
    (folder / "results.json").unlink()


def lose_config(folder):
    (folder / "config.json").unlink()


def change_images(folder):
    save_config(folder, load("quickstart", ["evals.test.split=val"]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lose_results, "add linear_probe"),
        (lose_config, "holds no run"),
        (change_images, "other images"),
    ],
)
def test_says_why_there_is_no_probe(runs, capsys, change, said):
    config, folder = runs
    change(folder / "a")
    finish_comparison(config, folder / "b")
    printed = " ".join(capsys.readouterr().out.split())
    assert said in printed and "from scratch" in printed and "step 5" not in printed
