"""Runs config files, and says in which line one goes wrong."""

from __future__ import annotations

import difflib
import inspect
import linecache
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import ml_collections
from ml_collections import ConfigDict

from maskmim.config import bricks
from maskmim.config.beside import importable
from maskmim.config.parse import ConfigError, describe, parse
from maskmim.config.sections import takes_names

# Frames of these files are not where the mistake is, only where it was noticed.
_INNER = (
    str(Path(ml_collections.__file__).parent),
    bricks.__file__,
    str(Path(__file__).with_name("load.py")),
)


# The configs of this project, whatever the current folder is: inside an installed package, beside
# the package in a clone.
_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.with_name("configs")


# A word after the colon: up to a comma outside of quotes.
_WORD = re.compile(r"""(?:[^,=]*=)?\s*(?:"[^"]*"|'[^']*')\s*(?=,|$)|[^,]+""")


class ArgumentError(ConfigError):
    """A mistake after the colon of `--config FILE:argument`."""


def parse_argument(text: str, *, bare: str = "", **defaults: Any) -> dict[str, Any]:
    """Return the choices after the colon: 'variant=L/16,epochs=800', or 'tiny' for a switch.

    bare:     name that a word without '=' gives its value to, as 'path' for '/data/photos'.
    defaults: every known name with its default, whose type the value must have.
    A value in quotes may hold commas and quotes of the other kind: path="/data/a,b".
    Returns a value for each name. Raises ConfigError for an unknown name, a repeated one, one
    without a value, and a value of another type.
    """
    values = dict(defaults)
    given: dict[str, str] = {}
    for word in _split_words(text):
        name, equals, value = word.partition("=")
        if bare and bare not in given and _is_bare(name, equals, defaults):
            name, equals, value = bare, "=", word
        if name not in defaults:
            raise ArgumentError(_unknown_name(name, word, given, defaults))
        if name in given:
            raise ArgumentError(f"{name!r} is given twice: give it once")
        given[name] = value
        default = defaults[name]
        if not equals and default is not False:
            raise ArgumentError(f"{name!r} needs a value: {name}={default}")
        kinds = None if default is None else frozenset({type(default)})
        try:
            values[name] = parse(_unquoted(value), kinds) if equals else True
        except ValueError as error:
            raise ArgumentError(f"{name}: {error}") from None
    return values


def _split_words(text: str) -> list[str]:
    """Split at commas, except inside quotes that begin a word or a value."""
    words = (match[0].strip() for match in _WORD.finditer(text))
    return [word for word in words if word]


def _unquoted(value: str) -> str:
    """Return a value without the quotes around it."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _is_bare(name: str, equals: str, defaults: dict[str, Any]) -> bool:
    """Return whether a word is a value without a name: a path, not a misspelt name."""
    if name in defaults:
        return False
    if name[:1] in ("/", "~", ".", "'", '"') or "/" in name or Path(name).is_dir():
        return True
    return not equals and not difflib.get_close_matches(name, defaults, 1, 0.6)


def _unknown_name(
    name: str, word: str, given: Mapping[str, str], defaults: Mapping[str, Any]
) -> str:
    """Return what is wrong with an unknown name after the colon.

    given: {name: value} of the words before it; after a text, a comma may belong to that.
    """
    lines = [f"no {name!r}{bricks.did_you_mean(name, defaults)}"]
    last = list(given)[-1] if given else ""
    if last and isinstance(defaults[last], str):
        whole = f'{last}="{given[last]},{word}"'
        lines.append(f"if the comma is part of the value, write it in quotes: '{whole}'")
    return "\n  ".join([*lines, f"it takes {_argument_text(defaults)}"])


def _argument_text(defaults: Mapping[str, Any]) -> str:
    words = (name if value is False else f"{name}={value}" for name, value in defaults.items())
    return ", ".join(words)


def run_file(argument: str) -> ConfigDict:
    """Run a config file and return what its `get_config` returns.

    argument: 'FILE' or 'FILE:argument of get_config'; FILE may be a name, see `find_config`.
    The file is executed: it is code, and may import the files beside it, see `beside.importable`.
    Raises ConfigError for a missing file, for one without get_config, and for mistakes of the
    config inside it or inside a file beside it, with file and line.
    """
    name, colon, rest = argument.partition(":")
    path = find_config(name)
    with importable(path.parent):
        config = _call_get_config(path, argument, rest if colon else None)
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"{path}: get_config returns {type(config).__name__}, not a ConfigDict")
    return config


def _call_get_config(path: Path, argument: str, rest: str | None) -> Any:
    """Execute a config file and call its get_config with what follows the colon, if anything."""
    module = ModuleType(f"{bricks.CONFIG_MODULE}{path.stem}")
    module.__file__ = str(path)
    try:
        code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
        exec(code, module.__dict__)  # a config file is a program that its user chose to run
    except Exception as error:
        raise _located(error, path, argument) from error
    get_config = getattr(module, "get_config", None)
    if not callable(get_config):
        raise ConfigError(f'{path} has no function get_config(arg: str = "")')
    if rest is not None and not inspect.signature(get_config).parameters:
        raise ConfigError(f"{path}: get_config takes no argument, but {rest!r} follows the colon")
    try:
        return get_config() if rest is None else get_config(rest)
    except Exception as error:
        raise _located(error, path, argument) from error


def find_config(name: str) -> Path:
    """Return the path of a config: a file, or a name such as 'mae' for mae.py below configs/.

    Names are looked up in ./configs first, then in the configs of this project, with all their
    subfolders. Raises ConfigError naming the nearest configs where there is none.
    """
    path = Path(os.path.expanduser(name))
    if path.is_file():
        return path
    files = config_files()
    if path.name == name and path.stem in files:
        return files[path.stem]
    if path.suffix == ".py" and path.parent.is_dir():
        names = sorted(str(file) for file in path.parent.glob("*.py"))
    else:
        names = sorted(files)
    near = difflib.get_close_matches(name, names, 1, 0.6)
    hint = f"; did you mean {near[0]}?" if near else ""
    listed = f"\n  there are {', '.join(names)}" if names else ""
    raise ConfigError(f"there is no config file {name!r}{hint}{listed}")


def config_files() -> dict[str, Path]:
    """Return the configs that a name finds, {name: file}, the nearest folder first."""
    files: dict[str, Path] = {}
    for folder in (Path("configs"), CONFIGS):
        for file in sorted(folder.rglob("*.py")):
            files.setdefault(file.stem, file)
    return files


def _located(error: Exception, path: Path, argument: str) -> Exception:
    """Return a ConfigError with file, line and nearest key; a bug elsewhere stays as it is."""
    if isinstance(error, ArgumentError):
        return ConfigError(f"--config {argument}: {error}")
    if isinstance(error, SyntaxError):
        return ConfigError(f"{error.filename}:{error.lineno}: {error.msg}")
    frames = list(traceback.walk_tb(error.__traceback__))
    outer = [frame for frame in frames if not frame[0].f_code.co_filename.startswith(_INNER)]
    if not outer:
        return error
    file, line = outer[-1][0].f_code.co_filename, outer[-1][1]
    place = f"{_short(file)}:{line}"
    linecache.checkcache(file)
    source = linecache.getline(file, line).strip()
    shown = f"\n  {source}" if source else ""
    if outer[-1] is not frames[-1]:
        text = _section_mistake(error, frames[-1][0], outer[-1][0])
        if text:
            return ConfigError(f"{place}: {text}{shown}")
    elif isinstance(error, ConfigError):  # the file says itself what is wrong
        return ConfigError(f"--config {argument}: {error}")
    if isinstance(error, ConfigError | bricks.BrickError):
        return ConfigError(f"{place}: {error}{shown}")
    if Path(file).resolve().parent == path.resolve().parent:
        return ConfigError(f"{place}: {type(error).__name__}: {error}{shown}")
    return error


def _short(file: str) -> str:
    """Return a path relative to the current folder where it lies inside it."""
    here = Path.cwd()
    return str(Path(file).relative_to(here)) if Path(file).is_relative_to(here) else file


def _section_mistake(error: Exception, frame: FrameType, caller: FrameType) -> str | None:
    """Return what a ConfigDict refused, in words; None where it did not raise the error.

    frame, caller: of the ConfigDict's method, and of the line in the file that called it.
    """
    names = frame.f_locals
    section = names.get("self")
    if not isinstance(section, ConfigDict):
        return None
    key = names.get("key", names.get("attribute"))
    if key in section and isinstance(error, TypeError):
        return f"{key!r}: expected {describe({type(section[key])})}, got {names['value']!r}"
    if key in section or not isinstance(error, KeyError | AttributeError):
        return None
    if key in dir(dict):
        return f"{key!r} cannot be a key, it is the name of a method"
    kept = sorted(section.keys())
    near = difflib.get_close_matches(str(key), kept, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    there = f"there is no key {key!r}{hint} Its section has {', '.join(kept) or 'none'}"
    place = _place_to_add(section, caller) if "value" in names else ""
    return f"{there}; add({place}, {key}=...) makes a new key" if place else there


def _place_to_add(section: ConfigDict, caller: FrameType) -> str:
    """Return what a file calls a section that takes keys of any name, 'config.objectives'.

    Returns '' for other sections, and where no variable of the file leads to it.
    """
    for variable, root in caller.f_locals.items():
        if isinstance(root, ConfigDict):
            for path, inner in _sections(root):
                if inner is section and takes_names(root, path):
                    return ".".join(filter(None, (variable, path)))
    return ""


def _sections(config: ConfigDict, path: str = "") -> Iterator[tuple[str, ConfigDict]]:
    """Yield (dotted path, section) of a config and of every section in it."""
    yield path, config
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _sections(value, f"{path}.{name}".lstrip("."))
