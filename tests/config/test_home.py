"""'~' is the home folder wherever a path enters."""

from pathlib import Path

import pytest

from maskmim.config import base, bind, brick
from maskmim.config.command_line import Parser, command_line, path
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.config.python_file import parse_argument

FILE = """
from maskmim.config import base

def get_config(arg=""):
    return base()
"""


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", [["--workdir=~/runs/x"], ["--workdir", "~/runs/x"]])
def test_the_work_directory(home, words):
    found = command_line(words, description=None, config=False)
    assert found.workdir == home / "runs" / "x"


def test_the_config_file(home):
    (home / "mine.py").write_text(FILE)
    assert load("~/mine.py").seed == 0
    assert command_line(["--config=~/mine.py"], description=None, workdir=False).config.seed == 0


def test_values_of_flags(home):
    config = load("quickstart", ["data.train.split=~/photos", "process.compile_cache=~/programs"])
    assert config.data.train.split == f"{home}/photos"
    assert config.process.compile_cache == f"{home}/programs"


def test_values_after_the_colon(home):
    assert parse_argument("path=~/photos", path="")["path"] == f"{home}/photos"


def test_values_that_a_config_file_sets(home):
    section = brick("maskmim.data.grocery.grocery", split="~/photos")
    assert bind(section).keywords == {"split": f"{home}/photos"}
    assert section.split == "~/photos"
    assert bind({"folders": ("~/a", "b~")}) == {"folders": (f"{home}/a", "b~")}
    assert base().data.train.split == "train+val"


def test_flags_of_other_commands(home):
    parser = Parser(description=None)
    parser.add_argument("--out", type=path)
    assert parser.parse_args(["--out=~/sheets"]).out == home / "sheets"
    assert path("here/~") == Path("here/~")


def test_a_parser_of_a_command_raises_a_sentence():
    parser = Parser(description=None)
    parser.add_argument("--out", type=int)
    for words, said in (
        (["--out=x"], "--out: invalid int value: 'x'; --help shows the flags"),
        (["--uot=x"], "unknown flag '--uot'"),
        (["x"], "unexpected argument 'x'; flags are --help, --out"),
    ):
        with pytest.raises(ConfigError, match=said):
            parser.parse_args(words)
