"""Config files: arguments, and the line and nearest key of every mistake."""

import pytest

from maskmim.config.load import load
from maskmim.config.python_file import find_config, parse_argument
from tests.config.examples import FIRST_LINE, HERE, message
from tests.running import ROOT


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


@pytest.mark.parametrize(
    ("line", "way_out"),
    [
        ("config.fresh = 3", "; add(config, fresh=...) makes a new key\n"),
        ("section = config.mask; section.x = 1", "ratio\n"),
        (
            "config.calls.classify = 3",
            "has none; add(config.calls, classify=...) makes a new key\n",
        ),
        ("config.input.labels['fine'] = 3", "; add(config.input.labels, fine=...) makes"),
        ("config.train.foo = 3", "micro_batches\n"),
        ("config.calls.classify", "has none\n"),
    ],
)
def test_a_section_of_any_names_says_how_to_add_one(write, line, way_out):
    body = f"from maskmim.config import base as whole\nconfig = whole()\n{line}"
    assert way_out in message(load, write(body), [])


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


def test_a_name_finds_its_file_in_the_nearest_configs_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("mae") == ROOT / "configs" / "mae.py"
    nested = tmp_path / "configs" / "image" / "mae.py"
    nested.parent.mkdir(parents=True)
    nested.write_text("")
    assert find_config("mae").resolve() == nested
    assert find_config(str(nested)) == nested


def test_a_wrong_name_lists_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = message(load, "colormea", [])
    assert "did you mean colormae?" in said and "there are a2mim, attmask" in said


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
