"""Configs: files, overrides, JSON, and the message for every mistake."""

import math
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from maskmim import errors
from maskmim.config.bricks import brick
from maskmim.config.command_line import command_line
from maskmim.config.load import add, load, override
from maskmim.config.parse import ConfigError
from maskmim.config.python_file import parse_argument
from maskmim.config.serialize import differences, from_json, to_json
from maskmim.runtime import exits
from tests.running import ROOT

HERE = __name__
HEADER = f"""
from ml_collections import ConfigDict
from maskmim.config import brick
from maskmim.config import add, parse_argument
from {HERE} import base

def get_config(arg=""):
    choice = parse_argument(arg, variant="B/16", epochs=300.0, tiny=False)
    config = base()
    config.train.epochs = choice["epochs"]
"""
FIRST_LINE = HEADER.count("\n") + 1


def sampler(x, *, ratio: float, block: int | None = None):
    """A sampler."""


def noise(
    x, *, ratio: float = 0.5, sigmas: tuple[float, ...] = (1.0, 2.0), path: str | None = None
):
    """A sampler that shares one hyperparameter with the other."""


def folder(*, path: str, ratio: float = 0.1):
    """A brick that needs something."""


def adam(*, lr: float = 1.5e-4, clip: float = math.inf, per: int = 256):
    """An optimiser."""


def base() -> ConfigDict:
    """A small config of the usual shape."""
    config = ConfigDict({"seed": 0, "teachers": {}})
    config.input = ConfigDict({"size": (224, 224), "mean": (0.5, 0.5)})
    config.mask = brick(f"{HERE}.sampler", ratio=0.75)
    config.optim = brick(f"{HERE}.adam")
    config.train = ConfigDict(
        {"epochs": 300.0, "batch_size": 4096, "fast": False, "name": "run", "limit": None}
    )
    config.evals = ConfigDict({"at_end": ("knn",)})
    return config.lock()


@pytest.fixture
def write(tmp_path):
    """Writes a config file whose get_config does some more; returns its path."""

    def written(body: str = "") -> str:
        path = tmp_path / "method.py"
        text = textwrap.indent(textwrap.dedent(body), "    ")
        path.write_text(f"{HEADER.lstrip()}{text}\n    return config\n")
        return str(path)

    return written


def message(call, *args, **keywords) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*args, **keywords)
    assert caught.value.exit_code == errors.USAGE
    return str(caught.value)


# Overrides


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("mask.ratio=0.6", 0.6),
        ("optim.lr=1", 1.0),
        ("optim.lr=1e-3", 1e-3),
        ("optim.lr=-2.5", -2.5),
        ("optim.clip=inf", math.inf),
        ("train.batch_size=1e3", 1000),
        ("train.batch_size=-1", -1),
        ("train.fast=true", True),
        ("train.fast=False", False),
        ("train.name=a b=c", "a b=c"),
        ("train.name=12", "12"),
        ("train.name=None", "None"),
        ("train.name='quoted'", "quoted"),
        ("train.limit=3", 3),
        ("train.limit=0.5", 0.5),
        ("train.limit=text", "text"),
        ("train.limit=None", None),
        ("mask.block=4", 4),
        ("mask.block=None", None),
        ("input.size=(96,96)", (96, 96)),
        ("input.size=96,96", (96, 96)),
        ("input.size=[96, 96]", (96, 96)),
        ("input.mean=0,1", (0.0, 1.0)),
        ("evals.at_end=knn,linear_probe", ("knn", "linear_probe")),
        ("evals.at_end=()", ()),
        ("evals.at_end=", ()),
    ],
)
def test_an_override_is_read_as_the_type_of_its_key(text, value):
    path = text.partition("=")[0]
    got = override(base(), [text])[path]
    assert (got, type(got)) == (value, type(value))
    if isinstance(value, tuple):
        assert [type(element) for element in got] == [type(element) for element in value]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mask.rtio=0.6", ["no key 'mask.rtio'", "did you mean 'mask.ratio'?"]),
        ("maks.ratio=0.6", ["did you mean 'mask.ratio'?"]),
        ("lr=0.1", ["did you mean 'optim.lr'?"]),
        ("train.epochs.x=1", ["did you mean 'train.epochs'?"]),
        ("zzzz=1", ["its sections are evals, input, mask"]),
        ("optim.lr=abc", ['optim.lr: expected a number, got "abc"']),
        ("optim.lr=None", ['optim.lr: expected a number, got "None"']),
        ("optim.lr=True", ['optim.lr: expected a number, got "True"']),
        ("train.batch_size=1.5", ['train.batch_size: expected a whole number, got "1.5"']),
        ("train.fast=1", ['train.fast: expected True or False, got "1"']),
        ("mask.block=x", ['mask.block: expected a whole number or None, got "x"']),
        ("input.size=96,a", ["input.size: expected a whole number", '"a"']),
        ("input.size=1.5,2", ["input.size: expected a whole number", '"1.5"']),
        ("mask=0.6", ["mask is a section", "mask.brick, mask.ratio"]),
        ("optim.lr", ["--config.optim.lr=VALUE"]),
    ],
)
def test_a_wrong_override_says_what_is_wrong(text, words):
    said = message(override, base(), [text])
    assert all(word in said for word in words), said


def test_an_override_changes_a_copy_and_locks_it():
    old = base()
    new = override(old, ["mask.ratio=0.5", "mask.ratio=0.6"])
    assert (old.mask.ratio, new.mask.ratio) == (0.75, 0.6)
    for section in (new, new.mask, new.train, new.teachers):
        assert section.is_locked


def test_annotations_of_a_brick_widen_what_its_value_shows():
    config = override(base(), ["mask.block=4"])
    assert override(config, ["mask.block=None"]).mask.block is None
    with config.ignore_type():
        config.optim.lr = 1
    assert override(config, ["optim.lr=0.5"]).optim.lr == 0.5


def test_another_brick_keeps_what_both_take_and_fills_in_the_rest():
    new = override(base(), ["mask.sigmas=1,3", f"mask.brick={HERE}.noise"])
    assert new.mask.to_dict() == {
        "brick": f"{HERE}.noise",
        "ratio": 0.75,
        "sigmas": (1.0, 3.0),
        "path": None,
    }


def test_another_brick_that_needs_a_value_asks_for_it():
    said = message(override, base(), [f"mask.brick={HERE}.folder"])
    assert "--config.mask.path=..." in said
    new = override(base(), [f"mask.brick={HERE}.folder", "mask.path=12"])
    assert (new.mask.path, new.mask.ratio) == ("12", 0.75)


def test_a_brick_that_does_not_exist_names_the_nearest():
    said = message(override, base(), [f"mask.brick={HERE}.samplr"])
    assert said.startswith("mask.brick: ")
    assert f"did you mean {HERE}.sampler?" in said


def test_stale_keywords_of_a_stored_brick_are_an_error():
    with base().unlocked() as config:
        config.mask = ConfigDict({"brick": f"{HERE}.sampler", "ratio": 0.5, "old": 1})
        said = message(override, config, [])
    assert said.startswith("mask: ")
    assert "has no 'old'" in said


# Config files


def test_a_file_is_loaded_with_its_argument_and_overrides(write):
    config = load(f"{write()}:epochs=800", ["mask.ratio=0.5"])
    assert (config.train.epochs, config.mask.ratio) == (800.0, 0.5)
    assert config.is_locked


def test_a_file_replaces_whole_sections_and_adds_new_ones(write):
    config = load(
        write(f"""
        config.mask = brick("{HERE}.noise", ratio=0.5)
        config.teachers = {{"momentum": brick("{HERE}.adam")}}
        add(config, tokenizer=brick("{HERE}.folder", path="p"))
        """),
        ["teachers.momentum.lr=1", "tokenizer.path=q"],
    )
    assert (config.mask.sigmas, config.teachers.momentum.lr) == ((1.0, 2.0), 1.0)
    assert config.tokenizer.path == "q"


def test_sections_shared_by_a_file_are_separate_afterwards(write):
    config = load(write("config.teachers = {'a': config.mask}"), ["teachers.a.ratio=0.1"])
    assert (config.mask.ratio, config.teachers.a.ratio) == (0.75, 0.1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("config.mask.rtio = 0.6", ["no key 'rtio'", "did you mean 'ratio'?"]),
        ("config.trian.epochs = 3", ["no key 'trian'", "did you mean 'train'?"]),
        ("config.maks = 3", ["no key 'maks'", "did you mean 'mask'?"]),
        ("config['train']['epoch'] = 3", ["no key 'epoch'", "did you mean 'epochs'?"]),
        ("x = config.optm", ["no key 'optm'", "did you mean 'optim'?"]),
        (f"config.mask = brick('{HERE}.sampler', rtio=1)", ["no 'rtio'", "did you mean ratio?"]),
        (f"config.mask = brick('{HERE}.samplr')", [f"did you mean {HERE}.sampler?"]),
        ("config.train.epochs = 'a'", ["'epochs': expected a number, got 'a'"]),
        ("config.mask = 0.6", ["'mask': expected a section", "0.6"]),
        ("config.train.get = 3", ["'get' cannot be a key"]),
        ("add(config, optim=3)", ["'optim' exists"]),
        ("nothing", ["NameError", "nothing"]),
        ("import maskmim.nothing", ["No module named 'maskmim.nothing'"]),
    ],
)
def test_a_mistake_in_a_file_names_line_and_nearest_key(write, line, words):
    path = write(line)
    said = message(load, path, [])
    assert said.startswith(f"{path}:{FIRST_LINE - 1}: "), said
    assert all(word in said for word in [*words, line]), said


def test_a_misspelt_key_of_a_new_brick_is_caught_too(write):
    said = message(load, write(f"config.mask = brick('{HERE}.noise')\nconfig.mask.rtio = 1"), [])
    assert f":{FIRST_LINE}: there is no key 'rtio'; did you mean 'ratio'?" in said


def test_what_a_file_raises_itself_is_said_as_it_is(write):
    body = "from maskmim.config.load import ConfigError\nraise ConfigError('name a folder')"
    path = write(body)
    assert message(load, path, []) == f"--config {path}: name a folder"


def test_a_bug_outside_the_file_keeps_its_own_error(write):
    with pytest.raises(TypeError, match="not a container"):
        load(write(f"from {HERE} import buggy\nbuggy()"), [])


def buggy():
    raise TypeError("not a container")


def test_a_file_that_is_no_config_file(tmp_path):
    path = tmp_path / "it.py"
    for text, words in {
        "def f(": f"{path}:1: ",
        "x = 1": "has no function get_config",
        "def get_config(arg=''): return {}": "returns dict, not a ConfigDict",
    }.items():
        path.write_text(text)
        assert words in message(load, str(path), [])
    path.write_text("def get_config(): return 1")
    assert "takes no argument" in message(load, f"{path}:tiny", [])


def test_a_missing_file_lists_those_that_exist(write):
    path = write()
    said = message(load, path.replace("method", "metod"), [])
    assert f"did you mean {path}?" in said
    assert "there are" in said


# What stands after the colon


def test_an_argument_follows_the_types_of_the_defaults():
    defaults = {"variant": "B/16", "epochs": 300.0, "depth": 8, "tiny": False, "top": None}
    assert parse_argument("", **defaults) == defaults
    values = parse_argument("variant=L/16, epochs=800,depth=4,tiny,top=3", **defaults)
    expected = {"variant": "L/16", "epochs": 800.0, "depth": 4, "tiny": True, "top": 3}
    assert values == expected
    assert type(values["epochs"]) is float


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch=3", ["no 'epoch'", "did you mean epochs?", "variant=B/16, epochs=300.0, tiny"]),
        ("tny", ["did you mean tiny?"]),
        ("variant", ["'variant' needs a value: variant=B/16"]),
        ("epochs=x", ['epochs: expected a number, got "x"']),
        ("tiny=3", ["tiny: expected True or False"]),
        ("epochs=1,epochs=2", ["twice"]),
    ],
)
def test_a_wrong_argument_says_what_there_is(write, text, words):
    said = message(load, f"{write()}:{text}", [])
    assert f":{text}: " in said
    assert all(word in said for word in words), said


# JSON


text = st.text('aé"\\\n🙂', max_size=4)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), text)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)
keys = st.text("abcdef_", min_size=1, max_size=4).filter(lambda key: not key.startswith("__"))
sections = st.recursive(
    st.dictionaries(keys, values, max_size=3),
    lambda inner: st.dictionaries(keys, st.one_of(values, inner), max_size=3),
    max_leaves=4,
)


def typed(value):
    """A value with the types of all its parts."""
    if isinstance(value, dict):
        return {key: typed(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return (type(value), [typed(part) for part in value])
    return (type(value), value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sections)
def test_json_gives_back_the_same_values_and_types(section):
    config = ConfigDict(section)
    assert typed(from_json(to_json(config)).to_dict()) == typed(config.to_dict())


def test_json_keeps_bricks_infinities_and_tuples_of_sections():
    config = base()
    with config.unlocked():
        config.several = (ConfigDict({"a": 1}), [1, (2,)], math.inf)
    back = from_json(to_json(config))
    assert back == config
    assert back.is_locked
    assert "Infinity" not in to_json(config)
    assert math.isnan(from_json(to_json(ConfigDict({"x": math.nan}))).x)


def test_json_refuses_what_it_cannot_give_back():
    said = message(to_json, ConfigDict({"a": {"f": print}}))
    assert said.startswith("a.f = ")
    assert "cannot be stored" in said
    assert "keys must be plain text" in message(to_json, ConfigDict({"a": {3: 1}}))
    assert "no stored config" in message(from_json, "[1]")
    assert "no stored config" in message(from_json, "{")


def test_differences_are_readable_lines():
    new = override(base(), ["optim.lr=0.5", "train.limit=3", "input.size=8,8"])
    assert differences(base(), base()) == []
    assert differences(base(), new) == [
        "input.size: (224, 224) -> (8, 8)",
        "optim.lr: 0.00015 -> 0.5",
        "train.limit: None -> 3",
    ]
    other = override(base(), [f"mask.brick={HERE}.folder", "mask.path=x"])
    assert "mask.block: None -> (absent)" in differences(base(), other)
    assert "mask.path: (absent) -> 'x'" in differences(base(), other)
    nan = ConfigDict({"x": math.nan})
    assert differences(nan, from_json(to_json(nan))) == []


def test_add_refuses_a_section_that_exists():
    config = base()
    assert "exists" in message(add, config, mask=1)
    add(config, fresh={"a": 1})
    assert config.fresh.a == 1
    assert config.is_locked


# The command line


def parsed(*argv, **keywords):
    return command_line(list(argv), description="Does it.", **keywords)


def test_both_forms_of_an_override_are_taken(write):
    path = write()
    options = parsed(
        f"--config={path}:tiny", "--config.mask.ratio", "0.5", "--config.optim.lr=1",
        "--workdir", "runs/x", "--config.train.batch_size", "-1",
    )  # fmt: skip
    assert options.workdir == Path("runs/x")
    assert (options.config.mask.ratio, options.config.optim.lr) == (0.5, 1.0)
    assert options.config.train.batch_size == -1


def test_flags_and_options_of_a_command():
    about = {"config": False, "flags": {"compile": "c"}, "options": {"evals": "e"}}
    assert not parsed("--workdir=r", **about).compile
    assert parsed("--workdir=r", **about).evals is None
    options = parsed("--workdir=r", "--compile", "--evals", "knn,probe", **about)
    assert (options.compile, options.evals) == (True, "knn,probe")
    options = parsed("--workdir=r", "--config.mask.ratio=1", config=False, overrides=True)
    assert options.overrides == ["mask.ratio=1"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--workdr=r"], "unknown flag '--workdr'; did you mean --workdir?"),
        (["--confg.mask.ratio=1"], "did you mean --config.mask.ratio?"),
        (["--mask.ratio=1"], "did you mean --config.mask.ratio?"),
        (["--zzzzzzz"], "there are --config, --help, --workdir"),
        (["configs/mae.py"], "unexpected argument 'configs/mae.py'"),
        (["--config"], "expected one argument"),
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
    for words in ("Does it.", "--config FILE", "also compile", "SAVED"):
        assert words in text


# Exit codes


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
        name: code for name, code in vars(errors).items() if name.isupper() and isinstance(code, int)
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
