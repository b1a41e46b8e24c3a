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


# Where a clone keeps configs/, whatever the current folder is.
REPOSITORY = Path(__file__).resolve().parents[2]


class ArgumentError(ConfigError):
    """A mistake after the colon of `--config FILE:argument`."""


def parse_argument(text: str, **defaults: Any) -> dict[str, Any]:
    """Return the choices after the colon: 'variant=L/16,epochs=800', or 'tiny' for a switch.

    defaults: every known name with its default, whose type the value must have.
    Returns a value for each name. Raises ConfigError for an unknown name, a repeated one, one
    without a value, and a value of another type.
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
            raise ArgumentError(f"{name!r} is given twice: give it once")
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
    """Run a config file and return what its `get_config` returns.

    argument: 'FILE' or 'FILE:argument of get_config'; FILE may be a name, see `find_config`.
    The file is executed: it is code. Raises ConfigError for a missing file, for one without
    get_config, and for mistakes of the config inside it, with file and line.
    """
    name, colon, rest = argument.partition(":")
    path = find_config(name)
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


def find_config(name: str) -> Path:
    """Return the path of a config: a file, or a name such as 'mae' for mae.py below configs/.

    Names are looked up in ./configs first, then in the configs/ beside the package, with all their
    subfolders. Raises ConfigError naming the nearest configs where there is none.
    """
    path = Path(name)
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
    for folder in (Path("configs"), REPOSITORY / "configs"):
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
    """Return a path relative to the current folder where it lies inside it."""
    here = Path.cwd()
    return str(Path(file).relative_to(here)) if Path(file).is_relative_to(here) else file


def _section_mistake(error: Exception, frame: FrameType) -> str | None:
    """Return what a ConfigDict refused, in words; None where it did not raise the error."""
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
