"""The command line, and the exit code and message of a mistake on it."""

import subprocess
import sys
from pathlib import Path

import pytest

from maskmim import errors
from maskmim.config.command_line import command_line
from maskmim.config.parse import ConfigError
from maskmim.runtime import exits
from tests.config.examples import message
from tests.running import ROOT


def parsed(*argv, **keywords):
    return command_line(list(argv), description="Does it.", **keywords)


def test_both_forms_of_an_override_are_taken(write):
    path = write()
    options = parsed(
        f"--config={path}:tiny", "--config.mask.ratio", "0.5", "--config.optim.lr=1",
        "--workdir", "runs/x", "--config.optim.clip", "-1",
    )  # fmt: skip
    assert options.workdir == Path("runs/x")
    assert (options.config.mask.ratio, options.config.optim.lr) == (0.5, 1.0)
    assert options.config.optim.clip == -1.0


def test_flags_and_options_of_a_command():
    about = {"config": False, "flags": {"compile": "c"}, "options": {"evals": "e"}}
    assert not parsed("--workdir=r", **about).compile
    assert parsed("--workdir=r", **about).evals is None
    options = parsed("--workdir=r", "--compile", "--evals", "knn,probe", **about)
    assert (options.compile, options.evals) == (True, "knn,probe")
    options = parsed("--workdir=r", "--config.mask.ratio=1", config=False, overrides=("mask",))
    assert options.overrides == ["mask.ratio=1"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--workdr=r"], "unknown flag '--workdr'; did you mean --workdir?"),
        (["--confg.mask.ratio=1"], "did you mean --config.mask.ratio?"),
        (["--mask.ratio=1"], "did you mean '--config.mask.ratio=1'?"),
        (["--zzzzzzz"], "there are --config, --help, --print-config, --workdir"),
        (["configs/mae.py"], "unexpected argument 'configs/mae.py'"),
        (["--config"], "--config: expected one argument"),
        (["--workdir=r"], "--config is missing"),
        (["--config.optim.lr"], "--config.optim.lr needs a value"),
        (["--config.optim.lr", "--workdir=r"], "--config.optim.lr needs a value"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(argv, words):
    assert words in message(parsed, *argv)


def test_a_command_without_a_config_takes_no_overrides():
    assert "unknown flag" in message(parsed, "--workdir=r", "--config.a=1", config=False)


def test_help_shows_flags_and_exit_codes(capsys):
    with pytest.raises(SystemExit) as left:
        parsed("--help", flags={"compile": "also compile"})
    assert left.value.code == 0
    text = capsys.readouterr().out
    for words in ("Does it.", "--config NAME", "also compile", "SAVED"):
        assert words in text


def test_errors_become_exit_codes(capsys):
    class Foreign(ValueError):
        exit_code = errors.BAD_DATA

    def raises(error):
        def main(argv):
            raise error

        return exits.run(main, [])

    assert exits.run(lambda argv: len(argv), ["a", "b"]) == 2
    assert raises(ConfigError("no key")) == errors.USAGE
    assert capsys.readouterr().err == "maskmim: error: no key\n"
    assert raises(Foreign("too many")) == errors.BAD_DATA
    assert "Traceback" not in capsys.readouterr().err
    assert raises(RuntimeError("a bug")) == errors.FAILED
    assert "Traceback" in capsys.readouterr().err
    assert raises(KeyboardInterrupt()) == errors.INTERRUPTED
    with pytest.raises(SystemExit):
        raises(SystemExit(0))


def test_the_table_of_exit_codes_lists_every_constant():
    rows = [
        [cell.strip() for cell in row.split("|")]
        for row in errors.exit_code_table().splitlines()[2:]
    ]
    listed = {row[2]: int(row[1]) for row in rows}
    assert listed == {
        name: code
        for name, code in vars(errors).items()
        if name.isupper() and isinstance(code, int)
    }


# The three mistakes that a user makes first, through a real process and the real default config

REAL = """
from maskmim.config import base

def get_config(arg=""):
    config = base()
    {line}
    return config
"""
COMMAND = """
import sys
from maskmim.runtime import exits
from maskmim.config.command_line import command_line
sys.exit(exits.run(lambda argv: command_line(argv, description=None, workdir=False) and 0))
"""


@pytest.mark.parametrize(
    ("line", "flags", "words"),
    [
        ("pass", ["--config.mask.rtio=0.6"], "did you mean 'mask.ratio'?"),
        ("pass", ["--config.optim.lr=abc"], 'optim.lr: expected a number, got "abc"'),
        ("config.mask.rtio = 0.6", [], "it.py:6: there is no key 'rtio'; did you mean 'ratio'?"),
    ],
)
def test_first_mistakes_exit_with_code_2_and_one_sentence(tmp_path, line, flags, words):
    (tmp_path / "it.py").write_text(REAL.format(line=line))
    command = [sys.executable, "-c", COMMAND, f"--config={tmp_path / 'it.py'}", *flags]
    root = ROOT
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == errors.USAGE, done.stderr
    assert done.stderr.startswith("maskmim: error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
