"""Bricks: functions that configs name and give hyperparameters to.

In a config file `config.mask = brick(uniform.random, ratio=0.75)`, or with the dotted path
`brick("maskmim.masks.uniform.random", ratio=0.75)`, makes a section that holds the path and every
hyperparameter, defaults filled in, so that flags can change each of them. `bind(config.mask)`
returns the function with its keywords bound.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from maskmim.errors import UserError

# Paths that stored configs may hold, and where their functions are now.
MOVED = {
    "maskmim.clustering.assigned": "maskmim.targets.clusters.assigned",
    "maskmim.clustering.fit": "maskmim.objectives.fit_prototypes",
    "maskmim.clustering.prototypes": "maskmim.teachers.clusters.prototypes",
    "maskmim.codebook.averaged": "maskmim.quantize.averaged",
    "maskmim.distillation.distillation": "maskmim.losses.distillation",
    "maskmim.feature_losses.cosine": "maskmim.losses.cosine",
    "maskmim.loss_prediction.absolute": "maskmim.objectives.absolute",
    "maskmim.loss_prediction.relative": "maskmim.objectives.relative",
    "maskmim.method.masked": "maskmim.methods.masked.masked",
    "maskmim.models.resized_positions.antialiased": (
        "maskmim.models.layers.resized_positions.antialiased"
    ),
    "maskmim.models.resized_positions.with_offset": (
        "maskmim.models.layers.resized_positions.with_offset"
    ),
    "maskmim.objectives.fit": "maskmim.objectives.fit_prototypes",
    "maskmim.optim_by_path.adamw_by_path": "maskmim.optim.adamw_by_path",
    "maskmim.optim_dino.adamw_dino": "maskmim.optim.adamw_dino",
    "maskmim.picture_codes.fresh": "maskmim.teachers.picture_codes.fresh",
    "maskmim.picture_codes.of_run": "maskmim.teachers.picture_codes.of_run",
    "maskmim.sharding.transformer": "maskmim.training.sharding.transformer",
    "maskmim.spikes.without_spikes": "maskmim.optim.without_spikes",
    "maskmim.step_schedules.warmup_multistep": "maskmim.schedules.warmup_multistep",
    "maskmim.token_losses.classify": "maskmim.objectives.classify",
    "maskmim.token_losses.cross_entropy": "maskmim.losses.cross_entropy",
    "maskmim.token_losses.soft_cross_entropy": "maskmim.losses.soft_cross_entropy",
    "maskmim.truncated_cosine.learning_rate": "maskmim.schedules.truncated_cosine.learning_rate",
    "maskmim.truncated_cosine.momentum": "maskmim.schedules.truncated_cosine.momentum",
}

_NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class BrickError(UserError, ValueError):
    """A brick that does not exist, or keywords that it does not take."""


def resolve(path: str) -> Callable:
    """Return the function or class at a dotted path, or at the path that it moved to.

    Raises BrickError naming the nearest module or function where there is none.
    """
    module_path, _, name = MOVED.get(path, path).rpartition(".")
    if not module_path:
        raise BrickError(f"{path!r} is not a dotted path such as maskmim.masks.uniform.random")
    module = _module(path, module_path)
    function = getattr(module, name, None)
    if not callable(function):
        inside = _where(module, name)
        hint = (
            f"; did you mean {' or '.join(inside)}?"
            if inside
            else did_you_mean(name, _offers(module), prefix=f"{module_path}.")
        )
        raise BrickError(f"brick {path!r}: {module_path} has no function {name!r}{hint}")
    return function


def public_path(function: Callable) -> str:
    """Return the dotted path of a function: that of its package where the package exports it."""
    module, name = function.__module__, function.__qualname__
    package = module.rpartition(".")[0]
    exported = getattr(sys.modules.get(package), name, None) is function
    return f"{package if exported else module}.{name}"


def _module(path: str, module_path: str) -> ModuleType:
    """Import the module of a brick, package by package, to name the first part that is missing."""
    module: ModuleType | None = None
    parts = module_path.split(".")
    for end, name in enumerate(parts, start=1):
        prefix = ".".join(parts[:end])
        try:
            module = importlib.import_module(prefix)
        except ModuleNotFoundError as error:
            if error.name != prefix:
                raise
            names = _offers(module) if module else []
            hint = did_you_mean(name, names, prefix=prefix.removesuffix(name))
            if end == 1:
                hint += ". Is the folder that holds it on PYTHONPATH?"
            raise BrickError(f"brick {path!r}: there is no module {prefix!r}{hint}") from error
    return module


def _offers(module: ModuleType) -> list[str]:
    """Return names of the functions and classes that a module defines, and of its submodules."""
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__
    ]
    inner = [entry.name for entry in pkgutil.iter_modules(getattr(module, "__path__", ()))]
    return [name for name in (*own, *inner) if not name.startswith("_")]


def _where(package: ModuleType, name: str) -> list[str]:
    """Return dotted paths of the functions called `name` in the modules of a package."""
    paths = [entry.name for entry in pkgutil.iter_modules(getattr(package, "__path__", ()))]
    modules = [importlib.import_module(f"{package.__name__}.{path}") for path in paths]
    return [f"{each.__name__}.{name}" for each in modules if callable(getattr(each, name, None))]


def did_you_mean(name: str, names: Iterable[str], *, prefix: str = "") -> str:
    """Return '; did you mean NEAREST?', or '; there are A, B' for a few names, or nothing."""
    names = sorted(names)
    near = difflib.get_close_matches(name, names, 1, 0.5)
    if near:
        return f"; did you mean {prefix}{near[0]}?"
    return f"; there are {', '.join(names)}" if 0 < len(names) <= 12 else ""


def hyperparameters(function: Callable) -> dict[str, inspect.Parameter]:
    """Return the keyword-only parameters of a function, or all named ones of a class, in order."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, TypeError):  # an annotation that exists for type checkers only
        signature = inspect.signature(function)
    kinds = _NAMED if inspect.isclass(function) else _NAMED[:1]
    return {name: p for name, p in signature.parameters.items() if p.kind in kinds}


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty


def required(path: str) -> list[str]:
    """Return the names of a brick's hyperparameters without a default."""
    return [name for name, p in hyperparameters(resolve(path)).items() if _is_required(p)]


def signature_text(path: str) -> str:
    """Return a brick's path with its hyperparameters and their defaults."""
    words = []
    for name, parameter in hyperparameters(resolve(path)).items():
        default = parameter.default
        shown = getattr(default, "__qualname__", None) or repr(default)
        words.append(name if _is_required(parameter) else f"{name}={shown}")
    return f"{path}({', '.join(words)})"


def check_keywords(path: str, given: Iterable[str]) -> None:
    """Raise BrickError for keywords that a brick does not take, and for missing ones."""
    known, given = hyperparameters(resolve(path)), list(given)
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known)
            raise BrickError(f"{path} has no {name!r}{hint}\n  it takes {signature_text(path)}")
    missing = [name for name in required(path) if name not in given]
    if missing:
        raise BrickError(f"{path} needs {', '.join(missing)}\n  it takes {signature_text(path)}")


def brick(function: Callable | str, /, **values: Any) -> ConfigDict:
    """Return a brick as a locked config section: `brick` is its path, the rest hyperparameters.

    function: the function itself, or its dotted path.
    values:   numbers, text, None, tuples, other bricks, dicts and tuples of bricks.
    Defaults are filled in; a default that is a function becomes a brick itself.
    Raises BrickError for a wrong path, a function that no path leads to, an unknown keyword, a
    missing one, or a function given as a value.
    """
    path = function if isinstance(function, str) else _path_of(function)
    path = MOVED.get(path, path)
    check_keywords(path, values)
    section = ConfigDict({"brick": path}, convert_dict=False)
    for name, parameter in hyperparameters(resolve(path)).items():
        value = parameter.default
        if name in values:
            value = values[name]
        elif inspect.isroutine(value):
            value = brick(value)
        section[name] = _stored(value, parameter, path)
    return section.lock()


def _path_of(function: Callable) -> str:
    """Return the path of a function; BrickError where the path does not lead back to it."""
    if not (inspect.isroutine(function) or inspect.isclass(function)):
        raise BrickError(f"brick({function!r}): give a function, or its dotted path as text")
    path = public_path(function)
    if "<" in path or path.startswith("__main__.") or not _leads_to(path, function):
        raise BrickError(
            f"brick({function.__qualname__}): {path} does not lead to this function, so a stored "
            "config could not find it again: define it at the top level of a module on PYTHONPATH"
        )
    return path


def _leads_to(path: str, function: Callable) -> bool:
    """Return whether a path resolves to a function."""
    try:
        return resolve(path) is function
    except BrickError:
        return False


def _stored(value: Any, parameter: inspect.Parameter, path: str) -> Any:
    """Return a hyperparameter as the config stores it: whole numbers become floats for floats."""
    if parameter.annotation in (float, "float") and type(value) is int:
        return float(value)
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict):
        return ConfigDict(value)
    if callable(value) and not isinstance(value, ConfigDict):
        name = getattr(value, "__name__", value)
        raise BrickError(f"{path}: {parameter.name} is the function {name}; name it by brick(path)")
    return value


def bind(section: Any) -> Any:
    """Return a brick section as functools.partial(function, **hyperparameters).

    Nested bricks are bound too; any other section becomes a dict of bound values, lists become
    tuples.
    Raises BrickError where the keywords do not fit the function.
    """
    if isinstance(section, ConfigDict | Mapping):
        values = {name: bind(value) for name, value in section.items()}
        if "brick" not in values:
            return values
        path = values.pop("brick")
        check_keywords(path, values)
        return functools.partial(resolve(path), **values)
    if isinstance(section, list | tuple):
        return tuple(bind(value) for value in section)
    return section
