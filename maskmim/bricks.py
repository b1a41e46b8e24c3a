"""Bricks: functions that configs name by dotted path and bind keywords to."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from maskmim.exits import UserError


class BrickError(UserError, ValueError):
    """A brick that does not exist, or keywords that it does not take."""


def resolve(path: str) -> Callable:
    """The function at a dotted path; BrickError naming the nearest name where there is none."""
    module_path, _, name = path.rpartition(".")
    if not module_path:
        raise BrickError(f"{path!r} is no dotted path, as maskmim.masks.uniform.random is one")
    try:
        module = importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_path}.".startswith(f"{error.name}."):
            raise
        raise BrickError(f"brick {path!r}: there is no module {error.name!r}") from error
    found = getattr(module, name, None)
    if not callable(found):
        near = difflib.get_close_matches(name, public_functions(module), 1, 0.4)
        hint = f"; did you mean {module_path}.{near[0]}?" if near else ""
        raise BrickError(f"brick {path!r}: {module_path} has no function {name!r}{hint}")
    return found


def public_functions(module: Any) -> list[str]:
    """Names of the functions that a module defines and offers."""
    return [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", "") == module.__name__
    ]


def hyperparameters(function: Callable) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a function, in order."""
    parameters = inspect.signature(function).parameters.items()
    return {name: p for name, p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def signature_text(path: str) -> str:
    """A brick's name with its hyperparameters and their defaults."""
    words = []
    for name, parameter in hyperparameters(resolve(path)).items():
        required = parameter.default is inspect.Parameter.empty
        words.append(name if required else f"{name}={parameter.default!r}")
    return f"{path}({', '.join(words)})"


def check_keywords(path: str, given: Mapping[str, Any]) -> None:
    """BrickError for keywords that a brick does not take, or lacks."""
    known = hyperparameters(resolve(path))
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.4)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise BrickError(f"{path} has no {name!r}{hint}\n  it takes {signature_text(path)}")
    missing = [
        name
        for name, parameter in known.items()
        if parameter.default is inspect.Parameter.empty and name not in given
    ]
    if missing:
        raise BrickError(f"{path} needs {', '.join(missing)}\n  it takes {signature_text(path)}")


def brick(path: str, **values: Any) -> ConfigDict:
    """A brick as a config section: its path and all hyperparameters, defaults filled in.

    Raises BrickError for a wrong path, an unknown keyword or a missing one.
    """
    check_keywords(path, values)
    section = ConfigDict({"brick": path}, convert_dict=False)
    for name, parameter in hyperparameters(resolve(path)).items():
        value = values[name] if name in values else parameter.default
        section[name] = ConfigDict(value) if isinstance(value, dict) else value
    return section


def bind(section: Any) -> Any:
    """A brick section as functools.partial(function, **hyperparameters), nested ones bound too.

    A section that is no brick becomes a dict of what its values become, lists become tuples.
    Raises BrickError where the keywords do not fit the function, as after `--config.mask.brick=`.
    """
    if isinstance(section, ConfigDict | dict):
        values = {name: bind(value) for name, value in section.items()}
        if "brick" not in values:
            return values
        path = values.pop("brick")
        check_keywords(path, values)
        return functools.partial(resolve(path), **values)
    if isinstance(section, list | tuple):
        return tuple(bind(value) for value in section)
    return section
