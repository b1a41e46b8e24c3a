"""Configs: Python files that build an ml_collections.ConfigDict, and flags that change it.

A config file starts from the defaults and assigns what differs:

    from maskmim.config import base, brick, parse_argument

    def get_config(arg=""):
        choice = parse_argument(arg, epochs=300.0, tiny=False)
        config = base()                                   # locked: it takes no new keys
        config.train.epochs = choice["epochs"]            # one value
        config.mask = brick(uniform.random, ratio=0.6)    # a whole section
        config.objectives = {"pixels": norm_pix_objective()}
        add(config, tokenizer=brick("my_package.vq", codes=8192))   # a new section
        return config

Assigning to a section that exists replaces it whole, also in a locked config, and brick() returns
locked sections; so a misspelt key anywhere is an error with file, line and the nearest key. Do not
use `with config.unlocked():`, in which `config.train.epcohs = 800` would quietly make a new key.

On the command line `--config.mask.ratio=0.6` changes one value. `--config.mask.brick=PATH` puts
another brick there: hyperparameters that both have keep their values, the rest are its defaults.
In sections that hold bricks by name, such as `objectives`, `teachers`, `calls` and `evals.probes`,
`--config.calls.NAME.brick=PATH` makes a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import NoneType
from typing import Any, get_args

from ml_collections import ConfigDict

from maskmim.config.bricks import (
    BrickError,
    brick,
    check_keywords,
    hyperparameters,
    required,
    resolve,
)
from maskmim.config.check import kind_at, of_another_kind
from maskmim.config.defaults import field, stream
from maskmim.config.keys import unknown_key
from maskmim.config.kinds import Kind, suggestion
from maskmim.config.parse import ConfigError, kinds_of, parse
from maskmim.config.python_file import run_file
from maskmim.config.sections import annotation_at, takes_bricks, wrong_values
from maskmim.config.upgrade import COMPUTE

# Keys that have a number for each axis of space.
PER_AXIS = ("size", "patch")
# Sections of `input` to which flags may add entries, and what makes one: a label set has a number.
NEW_ENTRIES = {"streams": stream, "fields": field, "labels": lambda: None}
ENTRY_ENDS = {"streams": ".channels=1", "fields": ".shape=32,32", "labels": "=10"}


def load(argument: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Return the locked config of a file, changed by overrides.

    argument:  'mae', 'configs/mae.py' or 'mae:variant=L/16,epochs=800'.
    overrides: texts such as 'mask.ratio=0.6'.
    Sections that a config file shares between two places are separate from here on.
    Raises ConfigError for every mistake in the file or in the overrides.
    """
    return override(run_file(argument), overrides)


def override(config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """Return a locked copy of a config with values changed.

    overrides: texts such as 'optim.lr=0.1'; of two for one key the last one wins.

    Raises ConfigError naming the nearest key, or the type or range expected and the value given.
    """
    config = _copy(config)
    check_bricks(config)
    pairs = [pair for text in overrides for pair in _pairs(config, text)]
    for path, _ in pairs:
        _open(config, path)
    chosen = sorted((p for p in pairs if p[0].endswith(".brick")), key=lambda p: p[0].count("."))
    open_keys = set()
    for path, value in chosen:
        open_keys |= _switch_brick(config, path, value)
    for path, value in pairs:
        if not path.endswith(".brick"):
            _set(config, path, value)
    lacking = sorted(open_keys - {path.removesuffix(".brick") for path, _ in pairs})
    if lacking:
        flags = " ".join(f"--config.{_to_set(config, path)}=..." for path in lacking)
        raise ConfigError(f"the brick put there needs {', '.join(lacking)}: add {flags}")
    check_config(config)
    return config.lock()


def add(config: ConfigDict, **sections: Any) -> None:
    """Add sections to a locked config; raise ConfigError for one that exists."""
    for name in sections:
        if name in config:
            raise ConfigError(
                f"add makes new keys of a config, but {name!r} exists: assign to config.{name}"
            )
    with config.unlocked():
        for name, section in sections.items():
            config[name] = section


def check_config(config: ConfigDict) -> None:
    """Raise ConfigError where a brick does not exist or does not fit, or a value is out of range.

    Ranges are those that the annotations of bricks declare (`config.ranges`), and those of other
    keys in `config.sections.KEYS`. All that is wrong is named, a line each.
    """
    check_bricks(config)
    try:
        wrong = wrong_values(config)
    except BrickError as error:
        raise ConfigError(str(error)) from error
    if wrong:
        raise ConfigError("\n  ".join(wrong))


def check_bricks(config: ConfigDict, path: str = "") -> None:
    """Raise ConfigError where a brick does not exist or has keys that it does not take."""
    for name, section in config.items():
        if isinstance(section, ConfigDict):
            check_bricks(section, f"{path}{name}.")
    if "brick" in config:
        try:
            check_keywords(config.brick, [name for name in config if name != "brick"])
        except BrickError as error:
            raise ConfigError(f"{path.rstrip('.')}: {error}") from error


def _copy(config: ConfigDict) -> ConfigDict:
    """Return an unlocked copy that shares no section with the original, nor with itself."""
    return ConfigDict(
        {name: _copy(v) if isinstance(v, ConfigDict) else v for name, v in config.items()}
    )


def _pairs(config: ConfigDict, text: str) -> list[tuple[str, str]]:
    """Return what an override sets: (path, text) of one key; of two for variant=S/16."""
    path, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--config.{path} needs a value: --config.{path}=VALUE")
    path = path.strip()
    name, slash, patch = value.partition("/")
    if not (slash and path.rpartition(".")[2] == "variant"):
        return [(path, value)]
    section, _ = _parent(config, path)
    if "patch" not in section or not patch.isdecimal():
        example = f"{name} or {name}/16" if "patch" in section else name
        raise ConfigError(f"{path}: expected a variant such as {example}, got {value!r}")
    # The axes of space are the last two: a clip's patch keeps its frames.
    sizes = (*section.patch[:-2], *(patch, patch)[-len(section.patch) :])
    return [(path, name), (f"{path.removesuffix('variant')}patch", ",".join(map(str, sizes)))]


def _parent(config: ConfigDict, path: str) -> tuple[ConfigDict, str]:
    """Return the section that holds a key, and its name there; ConfigError for an unknown key."""
    *sections, name = path.split(".")
    section = config
    for step in sections:
        if step not in section or not isinstance(section[step], ConfigDict):
            raise ConfigError(unknown_key(config, path))
        section = section[step]
    if name in COMPUTE and name not in section and "compute" in section:
        section = section.compute  # flags of 0.1.0, such as --config.model.dtype, stay true
    if name not in section:
        raise ConfigError(unknown_key(config, path))
    return section, name


def _open(config: ConfigDict, path: str) -> None:
    """Make the entry of `input.streams`, `.fields` or `.labels` that a key lies in, in place."""
    _open_brick(config, path)
    section, _, rest = path.removeprefix("input.").partition(".")
    name = rest.partition(".")[0]
    if not path.startswith("input.") or section not in NEW_ENTRIES or not name:
        return
    if section in config.input and name not in config.input[section]:
        config.input[section][name] = _unlocked(NEW_ENTRIES[section]())


def _open_brick(config: ConfigDict, path: str) -> None:
    """Make the entry that a flag puts a brick into, such as `calls.classify`, in place."""
    section, _, name = path.removesuffix(".brick").rpartition(".")
    if path.endswith(".brick") and takes_bricks(config, section) and name not in config[section]:
        config[section][name] = None


def _unlocked(value: Any) -> Any:
    return _copy(value) if isinstance(value, ConfigDict) else value


def _to_set(config: ConfigDict, path: str) -> str:
    """Return the key that a flag sets for a value: that of its path where it is a brick."""
    return f"{path}.brick" if kind_at(annotation_at(config, path)) else path


def _set(config: ConfigDict, path: str, text: str) -> None:
    """Set one value from text, in place."""
    section, name = _parent(config, path)
    now, annotation = section[name], annotation_at(config, path)
    if isinstance(now, ConfigDict) and text == "None" and NoneType in get_args(annotation):
        with section.ignore_type():
            section[name] = None
        return
    if isinstance(now, ConfigDict):
        inside = ", ".join(f"{path}.{key}" for key in now) or "nothing yet"
        if takes_bricks(config, path):
            inside = f"its bricks, as in --config.{path}.NAME.brick=PATH"
        if path.removeprefix("input.") in NEW_ENTRIES:
            inside = f"its entries, as in --config.{path}.NAME{ENTRY_ENDS[path[6:]]}"
        raise ConfigError(f"{path} is a section, not a value: set one of {inside}")
    try:
        value = parse(text, kinds_of(now, annotation), now)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    if (kind := kind_at(annotation)) and value is not None:
        raise ConfigError(_takes_a_brick(path, value, kind))
    with section.ignore_type():
        if name == "size" and now is None:  # a stream of the size of the main one until now
            now = config.input.size
        per_axis = name in PER_AXIS and isinstance(value, tuple) and isinstance(now, tuple)
        section[name] = _for_all_axes(path, value, now) if per_axis else value


def _takes_a_brick(path: str, value: Any, kind: Kind) -> str:
    """Return how to put a brick where a flag gave a value, and which bricks there are."""
    put = f"put it there with --config.{path}.brick="
    if isinstance(value, str):
        return f"{path} takes a brick: {put}{value}"
    return f"{path} takes a brick, not {value}: {put}PATH{suggestion(kind, '')}"


def _for_all_axes(path: str, value: tuple, now: tuple) -> tuple:
    """Return a size with a number for each axis: of one number, that number for all axes."""
    if len(value) != 1 or len(now) == 1:
        return value
    if len(set(now)) > 1:
        example = ",".join(map(str, now))
        raise ConfigError(f"{path}: expected {len(now)} numbers such as {example}, got {value[0]}")
    return value * len(now)


def _switch_brick(config: ConfigDict, path: str, new: str) -> set[str]:
    """Put another brick into a section, in place; return paths of keys that still need a value."""
    where = path.removesuffix(".brick")
    holder, last = _parent(config, where)
    kind = kind_at(annotation_at(config, where))
    section = {} if holder[last] is None and kind else _parent(config, path)[0]
    try:
        known = hyperparameters(resolve(new, kind))
        if kind and (wrong := of_another_kind(new, resolve(new), kind)):
            raise BrickError(wrong)
        kept = {name: section[name] for name in section if name in known}
        lacking = [name for name in required(new) if name not in kept]
        fresh = brick(new, **kept, **dict.fromkeys(lacking))
    except BrickError as error:
        raise ConfigError(f"{path}: {error}") from error
    *outer, name = where.split(".")
    parent = config
    for step in outer:
        parent = parent[step]
    parent[name] = _copy(fresh)
    return {f"{where}.{key}" for key in lacking}
