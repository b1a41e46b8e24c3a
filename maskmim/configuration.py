"""Configs from files, overrides and JSON; every mistake is an error that names the nearest key.

A config file defines `get_config(arg: str = "") -> ConfigDict`, starts from `maskmim.defaults.base()`
and replaces what it wants to differ:

    def get_config(arg=""):
        choice = parse_argument(arg, epochs=300.0)
        config = base()
        config.train.epochs = choice["epochs"]      # a misspelt key fails: the config is locked
        with config.unlocked():                     # a brick with other keywords
            config.mask = brick("maskmim.masks.colour.green", ratio=0.75)
        return config
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import json
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from maskmim.exits import UserError


class ConfigError(UserError, ValueError):
    """A config, a flag or a value that cannot be right."""


def load(argument: str, overrides: Sequence[tuple[str, str]] = ()) -> ConfigDict:
    """The locked config of 'file.py' or 'file.py:arg', with (key, text) overrides applied.

    Raises ConfigError for a file that is missing or fails, an unknown key or a value of another type.
    """
    path, _, arg = argument.partition(":")
    return override(_run_file(Path(path), arg), overrides)


def override(config: ConfigDict, overrides: Sequence[tuple[str, str]]) -> ConfigDict:
    """The config with (key, text) overrides applied, locked.

    Raises ConfigError for an unknown key, a section, or a value of another type.
    """
    known = dict(leaves(config))
    for key, text in overrides:
        _override(config, known, key, text)
    return config.lock()


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every value of a config that is not a section."""
    for name, value in config.items():
        if isinstance(value, ConfigDict) and len(value):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def nearest(name: str, known: Sequence[str]) -> str:
    """'; did you mean ...?' for the known name that is most alike, else ''."""
    found = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {found[0]}?" if found else ""


def _run_file(path: Path, arg: str) -> ConfigDict:
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path("configs")
        there = ", ".join(sorted(str(p) for p in folder.glob("*.py"))) or "none"
        raise ConfigError(f"there is no config file {path}; configs in {folder}: {there}")
    module_spec = importlib.util.spec_from_file_location(f"maskmim_config_{path.stem}", path)
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        return module.get_config(arg)
    except UserError as error:
        raise ConfigError(f"{_place(path, error)}{error}") from error
    except (AttributeError, KeyError, TypeError, ValueError, ImportError, SyntaxError) as error:
        text = str(error.args[0] if error.args else error)
        raise ConfigError(f"{_place(path, error)}{type(error).__name__}: {text}") from error


def _place(path: Path, error: Exception) -> str:
    """'file.py line N: ' of the last line of the config file that an error passed."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.resolve()]
    lines += [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path} line {lines[-1]}: " if lines else f"{path}: "


def _override(config: ConfigDict, known: dict[str, Any], key: str, text: str) -> None:
    if key not in known:
        sections = {name.rpartition(".")[0] for name in known}
        if key in sections:
            inside = ", ".join(name for name in known if name.startswith(f"{key}."))
            raise ConfigError(f"--config.{key} is a section; set one of its keys: {inside}")
        hint = nearest(f"--config.{key}", [f"--config.{name}" for name in known])
        raise ConfigError(f"there is no --config.{key}{hint}")
    with config.unlocked(), config.ignore_type():
        section = config
        *path, name = key.split(".")
        for part in path:
            section = section[part]
        section[name] = convert(f"--config.{key}", known[key], text)


def convert(name: str, old: Any, text: str) -> Any:
    """Text as a value of the type of `old`; ConfigError naming what was expected.

    Tuples may come without parentheses; where old is None any literal or plain text is taken.
    """
    if isinstance(old, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if old is None or value is None:
        return value
    if isinstance(old, bool):
        words = {"true": True, "false": False}
        return _checked(name, words.get(text.lower(), value), bool, "true or false", text)
    if isinstance(old, float):
        number = float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        number = float(text) if text in ("inf", "nan") else number
        return _checked(name, number, float, "a number", text)
    if isinstance(old, int):
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        whole = "no" if isinstance(value, bool) else whole
        return _checked(name, whole, int, "a whole number", text)
    if isinstance(old, tuple | list):
        if isinstance(value, str) and value == text and text:
            value = tuple(part.strip() for part in text.split(","))
        whole = tuple(value) if isinstance(value, tuple | list) else (value,)
        return _checked(name, whole, tuple, "values with commas between", text)
    raise ConfigError(f"{name}: a value of type {type(old).__name__} cannot be set from text")


def _checked(name: str, value: Any, kind: type, expected: str, text: str) -> Any:
    if not isinstance(value, kind):
        raise ConfigError(f'{name}: expected {expected}, got "{text}"')
    return value


def parse_argument(text: str, **defaults: Any) -> dict[str, Any]:
    """What stands after the colon: 'variant=L/16,epochs=800,tiny' with the types of the defaults.

    A bare name sets a true/false default to true. Raises ConfigError for names that are unknown.
    """
    values = dict(defaults)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if name not in defaults:
            known = ", ".join(f"{key}={default!r}" for key, default in defaults.items())
            raise ConfigError(
                f"unknown config argument {name!r}{nearest(name, list(defaults))} Known: {known}"
            )
        values[name] = convert(name, defaults[name], value if equals else "true")
    return values


def to_json(config: ConfigDict) -> str:
    """A config as JSON text that `from_json` reads back exactly; tuples become lists."""
    return json.dumps(_plain(config), indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, ConfigDict | dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(f"a config holds plain values only, got {value!r}")


def from_json(text: str) -> ConfigDict:
    """The config of `to_json`; sequences come back as tuples, which is all that configs hold."""

    def build(value: Any) -> Any:
        if isinstance(value, dict):
            section = ConfigDict()
            for name, inner in value.items():
                section[name] = build(inner)
            return section
        return tuple(build(inner) for inner in value) if isinstance(value, list) else value

    return build(json.loads(text))


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """'key: old -> new' for every value that differs, keys in order."""
    before, after = (dict(leaves(from_json(to_json(config)))) for config in (old, new))
    return [
        f"{key}: {before.get(key, 'absent')!r} -> {after.get(key, 'absent')!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, "absent") != after.get(key, "absent")
    ]
