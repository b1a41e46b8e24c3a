"""Configs as JSON and back, exactly, and what differs between two of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from maskmim.config.parse import ConfigError

_LIST, _FLOAT = "__list__", "__float__"


def to_json(config: ConfigDict) -> str:
    """Return a config as strict JSON, keys sorted; `from_json` gives back an equal one.

    A tuple is a JSON array; the rarer list is {"__list__": [...]}, and inf and nan, which JSON
    lacks, are {"__float__": "inf"}.
    Raises ConfigError for values other than numbers, text, None, tuples, lists and sections.
    """
    return json.dumps(_encoded(config, ""), indent=2, sort_keys=True, allow_nan=False) + "\n"


def from_json(text: str) -> ConfigDict:
    """Return the locked config that `to_json` wrote; raise ConfigError for any other text."""
    try:
        config = _decoded(json.loads(text))
    except ValueError as error:
        raise ConfigError(f"this is no stored config: {error}") from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"this is no stored config, but {type(config).__name__} {text[:40]!r}")
    return config.lock()


def _encoded(value: Any, path: str) -> Any:
    if isinstance(value, ConfigDict | Mapping):
        return {_key(k, path): _encoded(v, f"{path}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_encoded(part, path) for part in value]
    if isinstance(value, list):
        return {_LIST: [_encoded(part, path) for part in value]}
    if type(value) is float and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise ConfigError(
        f"{path} = {value!r} ({type(value).__name__}) cannot be stored: use numbers, text, None, "
        "tuples, sections, or brick(...) for a function"
    )


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str) or key in (_LIST, _FLOAT):
        raise ConfigError(f"{path or 'the config'} has the key {key!r}: keys must be plain text")
    return key


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decoded(part) for part in value)
    if not isinstance(value, dict):
        return value
    if _LIST in value:
        return [_decoded(part) for part in value[_LIST]]
    if _FLOAT in value:
        return float(value[_FLOAT])
    return ConfigDict({key: _decoded(part) for key, part in value.items()})


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of every key but sections, sorted."""
    for key, value in config.items():
        path = f"{prefix}{key}"
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Return the differing keys, a line each: 'optim.lr: 0.1 -> 0.2', '(absent)' for none.

    Where None stands for a section on the other side, the lines are those of the section's keys.
    """
    before, after = dict(leaves(old)), dict(leaves(new))
    paths = before.keys() | after.keys()
    sections = {path[:end] for path in paths for end, sign in enumerate(path) if sign == "."}
    lines = []
    for path in sorted(paths - sections):
        pair = [_shown(side, path) for side in (before, after)]
        if pair[0] != pair[1]:
            lines.append(f"{path}: {pair[0]} -> {pair[1]}")
    return lines


def _shown(side: Mapping[str, Any], path: str) -> str:
    if path not in side:
        return "(absent)"
    value = side[path]
    whole = type(value) is float and value.is_integer()
    return str(int(value)) if whole else repr(value)
