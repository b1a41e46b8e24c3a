"""Every flag and every argument of a config that README, docs and docstrings name exists."""

import ast
import functools
import re
from pathlib import Path

import pytest

from maskmim.config import ConfigError
from maskmim.config.load import load
from maskmim.config.python_file import config_files, find_config, run_file
from tests.running import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "launch").rglob("*.md"))
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))
MODULES = sorted((ROOT / "maskmim").rglob("*.py"))
# A config's name with what follows the colon, quotes around both removed.
NAMED = re.compile(r"""--config[ =](?:'([^']+)'|"([^"]+)"|([\w/.]+(?::[^\s`)]*)?))""")
FLAG = re.compile(r"""--config\.([\w.]+)(?:[= ]("[^"]*"|'[^']*'|[^\s`;)]+))?""")
# A module that the reader is told to write, before commands that use it.
SAVED = re.compile(r"Save this as `(\w+\.py)`:\s+```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
# Entries that a flag makes: streams, fields and label sets of any name.
ENTRY = re.compile(r"input\.(labels\.\w+|fields\.\w+\.(shape|dtype))")
PLACEHOLDER = re.compile(r"^[A-Z_]+$|\.\.\.|[<>{}$\[\]]")


def commands(text):
    """Yield (config, flags) of every command of a text; a config of '' for flags alone."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in re.split(r"\n\s*\n|\n(?=\s*(?:python|srun|\$|#|- |\|))|```|;|&&", joined):
        named = [next(filter(None, match)) for match in NAMED.findall(line)]
        flags = [(key, value.strip("\"'.,")) for key, value in FLAG.findall(line)]
        names = [name.rstrip(".,") for name in named if not PLACEHOLDER.search(name)]
        if len(names) <= 1 or not flags:
            for name in names or [""]:
                yield name, flags
        else:
            yield "", flags


def overrides(flags):
    """Return the flags with a value as texts for `load`."""
    return [
        f"{key}={value}" for key, value in flags if value and not PLACEHOLDER.search(f"{value}")
    ]


def keys_of(config, prefix=""):
    for name, value in config.items():
        yield f"{prefix}{name}"
        if hasattr(value, "items"):
            yield from keys_of(value, f"{prefix}{name}.")


@functools.cache
def every_key():
    """Return the keys of all configs and their tiny versions."""
    keys = set(keys_of(run_file("mae:shards=/data/shards")))
    for path in CONFIGS:
        for argument in ("", ":tiny") if "tiny=False" in path.read_text() else ("",):
            keys |= set(keys_of(run_file(f"{path}{argument}")))
    return keys


def complaint(name, flags):
    """Return why a command's config cannot be loaded, '' where it can."""
    known = name.partition(":")[0]
    if known and Path(known).stem not in config_files():
        return ""  # a config of the reader
    try:
        load(name, overrides(flags))
    except ConfigError as error:
        if re.search("there is no run (and no file )?of that name|holds no run", str(error)):
            return ""  # a run of the reader
        return f"--config {name} {flags}: {error}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_name_what_exists(page, tmp_path, monkeypatch):
    keys, wrong = every_key(), []
    text = page.read_text()
    for code, name in ((found[2], found[1]) for found in SAVED.finditer(text)):
        (tmp_path / name).write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
    for name, flags in commands(text):
        if name:
            wrong.append(complaint(name, flags))
        else:
            switched = {key.removesuffix("brick") for key, _ in flags if key.endswith(".brick")}
            wrong += [
                f"no config has {key}"
                for key, _ in flags
                if key not in keys
                and not ENTRY.fullmatch(key)
                and not key.startswith(tuple(switched) or ("\0",))
                and not key.endswith((".KEY", "KEY"))
            ]
    assert not [text for text in wrong if text], "\n".join(filter(None, wrong))


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text()), clean=True) or ""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_flags_in_the_docstring_of_a_config_are_its_own(path):
    told = [(name, flags) for name, flags in commands(docstring(path)) if name or flags]
    wrong = [complaint(name or str(path), flags) for name, flags in told]
    assert not [text for text in wrong if text], "\n".join(filter(None, wrong))


def accepted(path):
    """Return the names that a config takes after the colon."""
    with pytest.raises(ConfigError) as error:
        run_file(f"{path}:no_such_name=1")
    return {word.partition("=")[0] for word in str(error.value).split("it takes ")[1].split(", ")}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_what_follows_the_colon_is_told_and_nothing_else(path):
    paragraph = re.search(r"After the colon: (.*?)(?:\n\n|$)", docstring(path), re.DOTALL)
    assert paragraph, "say what stands after the colon"
    said = paragraph[1]
    given = set(re.findall(r"(?<![\w.])([a-z_]+)=(?=[\w.])", said))
    known = accepted(path)
    assert given <= known, f"there is no {given - known}"
    silent = {name for name in known if not re.search(rf"(?<![\w/.]){name}\b", said)}
    assert not silent, f"not told: {silent}"


def test_keys_that_modules_name_exist():
    keys, wrong = every_key(), []
    for path in MODULES:
        for text in re.findall(r"--config\.([a-z_]+(?:\.[a-z_]+)*)", path.read_text()):
            if text not in keys and text != "a":  # an example of a key
                wrong.append(f"{path.relative_to(ROOT)}: {text}")
    assert not wrong, wrong


def test_the_check_sees_what_is_wrong():
    text = (
        "run\n\n  python -m maskmim.train --config mae:epoch=3 \\\n      --config.mask.rtio=0.5\n"
    )
    ((name, flags),) = [pair for pair in commands(text) if pair[0]]
    assert (name, flags) == ("mae:epoch=3", [("mask.rtio", "0.5")])
    assert "did you mean epochs" in complaint("mae:epoch=3", [])
    assert "did you mean 'mask.ratio'" in complaint("mae", flags)
    assert find_config("mae").stem == "mae"
