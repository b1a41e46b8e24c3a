"""The commands of a sweep: every combination once, each with its own folder, and submitted."""

import importlib.util
import shlex

import pytest

from maskmim import errors
from maskmim.checkpoints.workdir import save_config
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.runtime import exits
from tests.launch.pretend import Pretended
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
    runs = lines(capsys, *product, *together, "--config.log.every_steps=5")
    assert len(runs) == 2 * 3 * 2 == len({line[-1] for line in runs})
    assert all("--config.log.every_steps=5" in line for line in runs)
    pairs = {
        tuple(word for word in line if "epochs" in word or "optim.lr" in word) for line in runs
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


def test_the_same_sweep_has_the_same_folders_however_long(capsys):
    values = [
        f"input.mean=({a},0.5,0.5),({a},0.5,0.6)" for a in ("0.123456789012345678" + "9" * 80,)
    ]
    wide = [*values, f"input.std=(0.2,0.2,0.2{'0' * 90}1),(0.2,0.2,0.3)"]
    first, again = lines(capsys, "--product", *wide), lines(capsys, "--product", *wide)
    names = [line[-1].removeprefix("runs/sweep/") for line in first]
    assert first == again and len(set(names)) == 4
    assert max(map(len, names)) == sweep.LONGEST + 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--product", "seed"], "'seed' does not have the form KEY=VALUE,VALUE"),
        (["--product", "seed=1", "--zip", "seed=2"], "seed is given twice"),
        (["--zip", "seed=1,2", "train.epochs=3"], "as many values for each key: seed has 2, train"),
        (["--product", "mask.ratio=0.6", "sed=1,2"], "the config has no key 'sed'"),
        (
            ["--product", "seed=1,2", "--wokdir=x"],
            "unknown flag '--wokdir'; did you mean --workdir",
        ),
        (["--product", "seed=1,1"], "two runs would share the folder runs/sweep/seed=1"),
        (["--submit", "local", "--with=-n2"], "--with is for slurm and sky; set variables"),
    ],
)
def test_what_cannot_be_a_sweep_is_refused_before_anything_is_written(arguments, message, capsys):
    assert exits.run(sweep.main, [*BASE, *arguments]) == errors.USAGE
    printed = capsys.readouterr()
    assert message in printed.err and not printed.out


def test_a_folder_with_another_config_is_refused_and_the_same_goes_on(tmp_path, capsys):
    words = ["--config", BASE[1], "--workdir", str(tmp_path), "--product", "seed=0,1"]
    run = tmp_path / "seed=1"
    (run / "checkpoints" / "5").mkdir(parents=True)
    save_config(run, load(str(ROOT / BASE[1]), ["seed=1"]))
    assert sweep.main(words) == 0
    with pytest.raises(ConfigError, match=r"seed=1 holds a run with another config:\n  mask.ratio"):
        sweep.main([*words, "--config.mask.ratio=0.5"])
    (run / "checkpoints" / "5").rmdir()  # nothing is lost where nothing was saved
    assert sweep.main([*words, "--config.mask.ratio=0.5"]) == 0


@pytest.fixture
def submitting(tmp_path, monkeypatch):
    """Return a function that submits a sweep of two runs to replaced programs."""
    made = Pretended(tmp_path)
    monkeypatch.setenv("PATH", made.environment()["PATH"])
    for name, value in {"CLUSTER": "c", "ZONE": "z", "TYPE": "t", "DOCKER_IMAGE": "i"}.items():
        monkeypatch.setenv(name, value)

    def submit(how, *words, workdir="runs, all"):
        base = ["--config", BASE[1], "--workdir", str(tmp_path / workdir)]
        return sweep.main([*base, "--product", "seed=3,4", "--submit", how, *words]), made

    return submit


def expected(tmp_path, seed):
    folder = tmp_path / "runs, all" / f"seed={seed}"
    return ["--config", BASE[1], f"--config.seed={seed}", "--workdir", str(folder)]


def test_local_runs_one_after_the_other_and_stops_at_a_failure(submitting, tmp_path, monkeypatch):
    trainer = Pretended.trainer
    made = submitting("local", "--dry-run")[1]
    assert not made.calls("trainer")
    monkeypatch.setenv("PYTHON", str(trainer(made, 0, 70, 0)))
    assert submitting("local") == (0, made)  # the second hung once, and local.sh began it again
    runs = [["-m", "maskmim.train", *expected(tmp_path, seed)] for seed in (3, 4, 4)]
    assert made.calls("trainer") == runs
    (made.folder / "starts").unlink()
    trainer(made, 65)
    assert submitting("local")[0] == 65 and len(made.calls("trainer")) == 4


def test_slurm_gets_one_array_whose_lines_are_the_runs(submitting, tmp_path, capsys):
    made = submitting("slurm", "--dry-run")[1]
    assert not list(tmp_path.glob("runs*/*"))
    made.program("sbatch", f'printf "%s" "$COMMANDS $PYTHON" > {tmp_path}/told')
    assert submitting("slurm", "--name=mine", "--with=--nodes=2 -p gpu")[0] == 0
    assert made.calls("sbatch") == [
        ["--job-name=mine", "--array=1-2", "--nodes=2", "-p", "gpu", "launch/slurm.sbatch"]
    ]
    (commands,) = (tmp_path / "runs, all").glob("commands-*.txt")
    assert (tmp_path / "told").read_text() == f"{commands} {sweep.sys.executable}"
    written = [shlex.split(line) for line in commands.read_text().splitlines()]
    assert written == [expected(tmp_path, 3), expected(tmp_path, 4)]
    # Another sweep leaves the lines alone that the first one's tasks read again when they requeue.
    submitting("slurm", "--config.log.every_steps=7")
    assert len(list((tmp_path / "runs, all").glob("commands-*.txt"))) == 2


def test_xpk_and_sky_get_a_job_for_each_run(submitting, tmp_path):
    made = submitting("xpk", "--dry-run")[1]
    made.program("xpk", "")
    made.program("sky", "")
    assert submitting("xpk", "--name=mine")[0] == 0
    for number, words in enumerate(made.calls("xpk"), start=1):
        command = next(word for word in words if word.startswith("--command="))
        assert f"--workload=mine-{number}" in words
        assert shlex.split(command)[-5:] == expected(tmp_path, number + 2)
    assert submitting("sky", "--with=--infra gcp")[0] == 0
    sky = made.calls("sky")
    assert len(made.calls("xpk")) == len(sky) == 2
    for number, words in enumerate(sky, start=1):
        assert words[:3] == ["jobs", "launch", "--yes"] and words[-1] == "launch/sky.yaml"
        assert "--infra" in words and f"--name=sweep-{number}" in words
        (told,) = [word for word in words if word.startswith("--env=ARGUMENTS=")]
        assert shlex.split(told.removeprefix("--env=ARGUMENTS=")) == expected(tmp_path, number + 2)


def test_what_a_submitter_says_no_to_ends_the_sweep(submitting):
    made = submitting("sky", "--dry-run")[1]
    made.program("sky", "exit 3")
    assert submitting("sky")[0] == 3 and len(made.calls("sky")) == 1
