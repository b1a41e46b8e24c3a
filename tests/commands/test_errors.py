"""The messages of the commands for wrong flags, paths and values."""

import time

import pytest

from maskmim import errors, evaluate, plan, train
from maskmim.data.records import TooManyBadImages
from maskmim.reporting.bad_steps import Diverged
from maskmim.runtime import exits, processes
from tests.running import ROOT

TINY = "--config=configs/mae.py:tiny"


def refused(capsys, command, *arguments):
    """Return the message of a command that ends with USAGE; check that it has no traceback."""
    assert exits.run(command.main, list(arguments)) == errors.USAGE
    lines = capsys.readouterr().err.splitlines(keepends=True)
    # What takes more than a second is told before, see `runtime.activity`.
    error = "".join(line for line in lines if not line.endswith((" ...\n", " s so far\n")))
    assert error.startswith("maskmim: error: ") and "Traceback" not in error
    return error


@pytest.mark.parametrize("command", [train, plan])
def test_a_misspelt_flag_names_the_nearest_key(capsys, tmp_path, command):
    place = () if command is plan else (f"--workdir={tmp_path}/run",)
    message = refused(capsys, command, TINY, "--config.mask.rtio=0.6", *place)
    assert "mask.rtio" in message and "mask.ratio" in message


def test_a_value_of_the_wrong_type_is_refused(capsys, tmp_path):
    message = refused(capsys, train, TINY, "--config.optim.lr=abc", f"--workdir={tmp_path}/run")
    assert "optim.lr" in message and "abc" in message and "number" in message
    assert not (tmp_path / "run").exists()


def test_a_misspelt_key_in_a_config_file_names_file_line_and_key(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from maskmim.config.defaults import base\n\n\n"
        "def get_config(arg=''):\n"
        "    config = base()\n"
        "    config.train.epcohs = 3.0\n"
        "    return config\n"
    )
    message = refused(capsys, train, f"--config={file}", f"--workdir={tmp_path}/run")
    assert "mine.py:6" in message and "epcohs" in message and "epochs" in message


def test_a_missing_config_lists_those_that_exist(capsys, tmp_path):
    message = refused(capsys, train, "--config=configs/mea.py", f"--workdir={tmp_path}/run")
    assert "configs/mae.py" in message


@pytest.mark.parametrize(
    ("path", "expected"), [("nowhere", "nowhere"), ("empty", "no images")], ids=["missing", "empty"]
)
def test_a_folder_without_images(capsys, tmp_path, path, expected):
    (tmp_path / "empty").mkdir()
    config = f"--config=configs/folder.py:path={tmp_path}/{path}"
    message = refused(capsys, train, config, f"--workdir={tmp_path}/run")
    assert expected in message


def test_a_data_set_smaller_than_a_batch(capsys, tmp_path):
    message = refused(
        capsys, train, TINY, "--config.train.batch_size=512", f"--workdir={tmp_path}/run"
    )
    assert "296" in message and "512" in message and "batch" in message


def test_a_ratio_that_hides_everything_says_so(capsys):
    message = refused(capsys, plan, TINY, "--config.mask.ratio=0.99")
    assert "mask ratio 0.99" in message and "16 tokens" in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("input.size=100,100", "100x100"),
        ("model.variant=XL", "XL"),
        ("input.channels=1", "input.channels is 1"),
        ("schedule.warmup_epochs=1000000", "warm-up"),
        ("train.batch_size=15", "multiple of 2"),
        ("mesh.fsdp=3", "1 device"),
    ],
)
def test_sizes_that_do_not_go_together(capsys, change, expected):
    flags = (TINY, f"--config.{change}", "--config.train.micro_batches=2")
    assert expected in refused(capsys, plan, *flags)


@pytest.mark.parametrize(
    ("config", "changes", "expected"),
    [
        (
            "maskgit:tiny",
            ["condition.label=coarse", "input.labels.coarse=7"],
            "'coarse' has 43 classes: set input.labels.coarse=43",
        ),
        ("mae:tiny", ["mesh.rules=maskmim.masks.uniform.random"], "expected sharding rules"),
        ("mae:tiny", ["method=os.system"], "expected a method"),
        ("mae:tiny", ["optim.brick=maskmim.optim.without_spikes"], "optim.optimiser.brick="),
        ("mae:tiny", ["model.decoder_depth=1000000"], "model.decoder_depth"),
        ("mae:tiny", ["optim.lr=1e30"], "optim.lr"),
        ("quickstart", ["mask.sigmas=1e9,2e9"], "smaller sigmas"),
        ("simmim:model=swin,tiny", ["mask.sampler.unit=7"], "use a smaller unit"),
        ("mae:tiny", ["model.variant=b"], "did you mean 'B'"),
        ("mae:tiny", ["input.size=32,32,32"], "input.size"),
    ],
)
def test_values_that_only_their_brick_can_judge(capsys, tmp_path, config, changes, expected):
    flags = [f"--config={config}", *(f"--config.{change}" for change in changes)]
    assert expected in refused(capsys, train, *flags, f"--workdir={tmp_path}/run")


@pytest.mark.parametrize("ratio", ["nan", "inf", "-1", "2"])
def test_a_sampler_without_annotations_is_given_no_odd_ratio(capsys, tmp_path, monkeypatch, ratio):
    (tmp_path / "bare_sampler.py").write_text(
        "from maskmim.masks import uniform\n\n\n"
        "def bare(randomness, context, *, ratio):\n"
        "    return uniform.random(randomness, context, ratio=ratio)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    flags = (TINY, "--config.mask.brick=bare_sampler.bare", f"--config.mask.ratio={ratio}")
    message = refused(capsys, train, *flags, f"--workdir={tmp_path}/run")
    assert "mask ratio" in message and "at least one" in message


def test_a_brick_of_the_config_file_itself_is_refused(capsys, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from maskmim.config import base, brick\n\n\n"
        "def here(randomness, context, *, ratio=0.5):\n"
        "    return None\n\n\n"
        "def get_config(arg=''):\n"
        "    config = base()\n"
        "    config.mask = brick(here)\n"
        "    return config\n"
    )
    message = refused(capsys, train, f"--config={tmp_path}/mine.py", f"--workdir={tmp_path}/run")
    assert "mine.py:10" in message and "put it into a module beside" in message


def test_a_mesh_that_does_not_fit_says_what_would(capsys):
    message = refused(capsys, plan, TINY, "--config.mesh.fsdp=3", "--config.mesh.data=1")
    assert "fsdp=3" in message and "1 device" in message


def test_evaluating_a_folder_without_a_run(capsys, tmp_path):
    message = refused(capsys, evaluate, f"--workdir={tmp_path}")
    assert "config.json" in message


def test_an_unknown_evaluation_lists_the_known_ones(capsys, tmp_path):
    from maskmim.checkpoints.workdir import save_config
    from maskmim.config.load import load

    save_config(tmp_path, load("configs/mae.py:tiny"))
    message = refused(capsys, evaluate, f"--workdir={tmp_path}", "--evals=knm")
    assert "knm" in message and "knn" in message and "reconstruction" in message


def codes_of_the_table():
    """Return {name: code} of the Markdown table."""
    cells = [row.strip("|").split("|") for row in errors.exit_code_table().splitlines()[2:]]
    return {name.strip(): int(code) for code, name, *_ in cells}


def test_the_table_of_exit_codes_is_what_the_code_and_the_launchers_say():
    named = {
        name: value
        for name, value in vars(errors).items()
        if name.isupper() and isinstance(value, int)
    }
    assert codes_of_the_table() == named
    words = (ROOT / "launch" / "exit_codes.sh").read_text().split()
    pairs = [word.split("=") for word in words if word.partition("=")[2].isdigit()]
    assert pairs and {name: int(code) for name, code in pairs}.items() <= named.items()


@pytest.mark.parametrize(
    ("error", "code", "ending"),
    [
        (errors.UserError("look here"), errors.USAGE, "maskmim: error: look here\n"),
        (
            processes.MissingProcesses("process 3 did not come"),
            errors.STUCK,
            "process 3 did not come\n",
        ),
        (Diverged("nan"), errors.DIVERGED, "maskmim: error: nan\n"),
        (TooManyBadImages("half"), errors.BAD_DATA, "maskmim: error: half\n"),
        (ZeroDivisionError("oops"), errors.FAILED, "ZeroDivisionError: oops\n"),
        (KeyboardInterrupt(), errors.INTERRUPTED, "maskmim: interrupted\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_codes(capsys, error, code, ending):
    def command(argv):
        raise error

    assert exits.run(command) == code
    printed = capsys.readouterr().err
    assert printed.endswith(ending)
    assert ("Traceback" in printed) == (code == errors.FAILED)


def test_what_waits_too_long_is_left(capsys):
    began = time.monotonic()
    assert not exits.run_within(0.2, lambda: time.sleep(5))
    assert time.monotonic() - began < 4
    assert exits.run_within(5, lambda: 1 / 0) and exits.run_within(5, lambda: None)
