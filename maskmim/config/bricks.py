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
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import Annotated, Any, get_args, get_origin

from ml_collections import ConfigDict

from maskmim.config import check
from maskmim.config.kinds import Kind, names_of_kind
from maskmim.errors import UserError

# Paths that stored configs may hold, and where their functions are now.
MOVED = {
    "maskmim.clustering.assigned": "maskmim.targets.clusters.assigned",
    "maskmim.clustering.fit": "maskmim.objectives.fit_prototypes",
    "maskmim.clustering.prototypes": "maskmim.teachers.clusters.balanced",
    "maskmim.teachers.clusters.prototypes": "maskmim.teachers.clusters.balanced",
    "maskmim.codebook.averaged": "maskmim.quantize.averaged",
    "maskmim.data.fast_crop.random_resized_crop_flip": (
        "maskmim.data.transforms.random_resized_crop_flip"
    ),
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

# How the names of modules begin that are config files being run; see `python_file.run_file`.
CONFIG_MODULE = "config_"

_NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class BrickError(UserError, ValueError):
    """A brick that does not exist, keywords that it does not take, or values out of range."""


def resolve(path: str, kind: Kind | None = None) -> Callable:
    """Return the function or class at a dotted path, or at the path that it moved to.

    kind: what is looked for; only functions of this kind are offered in place of a wrong name.
    Raises BrickError naming the nearest module or function where there is none.
    """
    module_path, _, name = MOVED.get(path, path).rpartition(".")
    if not module_path:
        example = kind.example if kind and kind.example else "maskmim.masks.uniform.random"
        raise BrickError(f"{path!r} is not a dotted path such as {example}")
    module = _module(path, module_path)
    function = getattr(module, name, None)
    if not callable(function):
        inside = _where(module, name)
        hint = (
            f"; did you mean {' or '.join(inside)}?"
            if inside
            else did_you_mean(name, _offers(module, kind), prefix=f"{module_path}.")
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


def _offers(module: ModuleType, kind: Kind | None = None) -> list[str]:
    """Return names of a module's functions and submodules; of a kind: functions, or what has some.

    A package that exports functions of the kind offers these alone.
    """
    functions = names_of_kind(module, kind)
    inner = [entry.name for entry in pkgutil.iter_modules(getattr(module, "__path__", ()))]
    if kind and functions:
        return functions
    if kind:
        inside = {name: importlib.import_module(f"{module.__name__}.{name}") for name in inner}
        inner = [name for name, part in inside.items() if names_of_kind(part, kind)]
    return [*functions, *(name for name in inner if not name.startswith("_"))]


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
    return f"; there are {', '.join(names)}" if 0 < len(names) <= 16 else ""


@functools.cache
def hyperparameters(function: Callable) -> Mapping[str, inspect.Parameter]:
    """Return the keyword-only parameters of a function, or all named ones of a class, in order.

    Annotations are evaluated where they can be.
    """
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, TypeError):  # an annotation that exists for type checkers only
        signature = inspect.signature(function)
    kinds = _NAMED if inspect.isclass(function) else _NAMED[:1]
    return MappingProxyType({n: p for n, p in signature.parameters.items() if p.kind in kinds})


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
        if function.__module__.startswith(CONFIG_MODULE) and "<" not in path:
            raise BrickError(
                f"brick({function.__qualname__}): a function of the config file itself cannot be "
                "found again by a stored config: put it into a module beside the file, in a folder "
                "on PYTHONPATH, and import it from there"
            )
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
    annotation = parameter.annotation
    plain = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if plain in (float, "float") and type(value) is int:
        return float(value)
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict):
        return ConfigDict(value)
    if callable(value) and not isinstance(value, ConfigDict):
        name = getattr(value, "__name__", value)
        raise BrickError(f"{path}: {parameter.name} is the function {name}; name it by brick(path)")
    return value


def function_at(value: Any) -> Callable | None:
    """Return the function of a brick's section, or a function itself; None for other values."""
    if isinstance(value, Mapping | ConfigDict):
        return resolve(value["brick"]) if "brick" in value else None
    return value if callable(value) else None


def out_of_range(path: str, values: Mapping[str, Any], key: str = "") -> list[str]:
    """Return a sentence for each value of a brick that its annotations do not allow.

    key: of the brick's section in the config, 'mask'; '' where it is not known.
    """
    prefix = f"{key}." if key else f"{path}: "
    known = hyperparameters(resolve(path))
    return [
        fault
        for name, value in values.items()
        for fault in check.faults(value, known[name].annotation, prefix + name, function_at)
    ]


def bind(section: Any, key: str = "") -> Any:
    """Return a brick section as functools.partial(function, **hyperparameters).

    Nested bricks are bound too; any other section becomes a dict of bound values, lists become
    tuples, and '~' at the start of a text becomes the home folder.
    key: of the section in the config, 'mask', for messages.
    Raises BrickError where the keywords do not fit the function, or a value is out of the range
    that its annotation declares (`config.ranges`).
    """
    if isinstance(section, ConfigDict | Mapping):
        values = {name: bind(value, f"{key}.{name}".lstrip(".")) for name, value in section.items()}
        if "brick" not in values:
            return values
        path = values.pop("brick")
        check_keywords(path, values)
        if wrong := out_of_range(path, values, key):
            raise BrickError("\n  ".join(wrong))
        return functools.partial(resolve(path), **values)
    if isinstance(section, list | tuple):
        return tuple(bind(value, key) for value in section)
    return os.path.expanduser(section) if isinstance(section, str) else section


def method_takes(config: ConfigDict, section: str) -> bool:
    """Return whether the method of a config takes a section, 'mask', as a keyword."""
    return section in hyperparameters(resolve(config.method))
