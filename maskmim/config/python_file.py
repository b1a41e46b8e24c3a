"""Runs config files, and says in which line one goes wrong."""

from __future__ import annotations

import difflib
import inspect
import linecache
import traceback
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import ml_collections
from ml_collections import ConfigDict

from maskmim.config import bricks
from maskmim.config.parse import ConfigError, describe, parse

# Frames of these files are not where the mistake is, only where it was noticed.
_INNER = (
    str(Path(ml_collections.__file__).parent),
    bricks.__file__,
    str(Path(__file__).with_name("load.py")),
)


class ArgumentError(ConfigError):
    """A mistake in what stands after the colon of `--config FILE:argument`."""


def parse_argument(text: str, **defaults: Any) -> dict[str, Any]:
    """What stands after the colon: 'variant=L/16,epochs=800', or 'tiny' for a boolean default.

    defaults: every name there is, with its default, whose type the value follows.
    Returns a value for each of them. Raises ConfigError for a name that is not there, twice there,
    or without a value, and for a value of another type.
    """
    values = dict(defaults)
    given = set()
    for word in (part.strip() for part in text.split(",")):
        if not word:
            continue
        name, equals, value = word.partition("=")
        if name not in defaults:
            hint = bricks.did_you_mean(name, defaults)
            raise ArgumentError(f"no {name!r}{hint}\n  it takes {_argument_text(defaults)}")
        if name in given:
            raise ArgumentError(f"{name!r} is there twice")
        given.add(name)
        default = defaults[name]
        if not equals and default is not False:
            raise ArgumentError(f"{name!r} needs a value: {name}={default}")
        kinds = None if default is None else frozenset({type(default)})
        try:
            values[name] = parse(value, kinds) if equals else True
        except ValueError as error:
            raise ArgumentError(f"{name}: {error}") from None
    return values


def _argument_text(defaults: dict[str, Any]) -> str:
    words = (name if value is False else f"{name}={value}" for name, value in defaults.items())
    return ", ".join(words)


def run_file(argument: str) -> ConfigDict:
    """What `get_config` of a file returns; argument: 'FILE' or 'FILE:what get_config is given'.

    The file is executed: it is code. Raises ConfigError for a missing file, for one without
    get_config, and for mistakes of the config inside it, with file and line.
    """
    name, colon, rest = argument.partition(":")
    path = _existing(Path(name))
    module = ModuleType(f"config_{path.stem}")
    module.__file__ = str(path)
    try:
        code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
        exec(code, module.__dict__)  # a config file is a program that its user chose to run
    except Exception as error:
        raise _located(error, path, argument) from error
    get_config = getattr(module, "get_config", None)
    if not callable(get_config):
        raise ConfigError(f'{path} has no function get_config(arg: str = "")')
    if colon and not inspect.signature(get_config).parameters:
        raise ConfigError(f"{path}: get_config takes no argument, but {rest!r} follows the colon")
    try:
        config = get_config(rest) if colon else get_config()
    except Exception as error:
        raise _located(error, path, argument) from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"{path}: get_config returns {type(config).__name__}, not a ConfigDict")
    return config


def _existing(path: Path) -> Path:
    """The path, if a file is there; else ConfigError with those that are."""
    if path.is_file():
        return path
    folder = path.parent if path.parent.is_dir() else Path("configs")
    there = sorted(str(file) for file in folder.glob("*.py")) if folder.is_dir() else []
    near = difflib.get_close_matches(str(path), there, 1, 0.6)
    hint = f"; did you mean {near[0]}?" if near else ""
    listed = f"\n  there are {', '.join(there)}" if there else ""
    raise ConfigError(f"there is no config file {str(path)!r}{hint}{listed}")


def _located(error: Exception, path: Path, argument: str) -> Exception:
    """A ConfigError with file, line and nearest key; the error itself for a bug elsewhere."""
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
        text = _section_mistake(error, frames[-1][0])
        if text:
            return ConfigError(f"{place}: {text}{shown}")
    elif isinstance(error, ConfigError):  # the file says itself what is wrong
        return ConfigError(f"--config {argument}: {error}")
    if isinstance(error, ConfigError | bricks.BrickError):
        return ConfigError(f"{place}: {error}{shown}")
    if Path(file) == path:
        return ConfigError(f"{place}: {type(error).__name__}: {error}{shown}")
    return error


def _short(file: str) -> str:
    """A path as seen from the current folder, where it lies inside it."""
    here = Path.cwd()
    return str(Path(file).relative_to(here)) if Path(file).is_relative_to(here) else file


def _section_mistake(error: Exception, frame: FrameType) -> str | None:
    """What a ConfigDict refused, in words; None where the error is not one of its refusals."""
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
    return f"there is no key {key!r}{hint} Its section has {', '.join(kept) or 'none'}"
