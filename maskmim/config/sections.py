"""What every key of a config takes: as its brick's annotations say, or the table `KEYS`."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

from ml_collections import ConfigDict

from maskmim.config import check, kinds
from maskmim.config.bricks import BrickError, function_at, hyperparameters, required, resolve
from maskmim.config.ranges import (
    Deviations,
    Fraction,
    Limits,
    Means,
    NonNegative,
    NonNegativeInt,
    Pattern,
    PositiveInt,
    Seed,
    Sizes,
)

_Function = Callable[..., Any]
_Devices = Literal[-1] | PositiveInt
# Epochs are turned into a number of steps, which is counted in 32 bits.
_Epochs = Annotated[float, Limits(0.0, 1e6, above=True)]
# Processes of a machine, and threads of a process: more is a slip.
_Workers = Annotated[int, Limits(0, 1024)]
_Threads = Annotated[int, Limits(1, 1024)]
_Labelled = Annotated[_Function, kinds.SOURCE] | None
_Names = tuple[str | NonNegativeInt, ...]
_Modality = Annotated[_Function, kinds.MODALITY]


class _Stream(TypedDict):
    """The keys of a further stream; size None for that of the main stream."""

    size: Sizes | None
    channels: PositiveInt
    mean: Means
    std: Deviations
    dtype: Literal["uint8", "int32", "float32"]
    channel_names: _Names
    classes: NonNegativeInt
    kind: _Modality


class _Field(TypedDict):
    """The keys of an array of an example that is not turned into tokens."""

    shape: tuple[PositiveInt, ...]
    dtype: Literal["uint8", "int32", "float32", "bool"]


# Keys that belong to no brick, beside the defaults of `config.defaults`.
KEYS: dict[str, Any] = {
    "seed": Seed,
    "input": {
        "size": Sizes,
        "channels": PositiveInt,
        "mean": Means,
        "std": Deviations,
        "stream": str,
        "dtype": Literal["uint8", "int32", "float32"],
        "channel_names": _Names,
        "classes": NonNegativeInt,
        "kind": _Modality,
        "streams": Mapping[str, _Stream],
        "fields": Mapping[str, _Field],
        "labels": Mapping[str, PositiveInt],
    },
    "begin": {
        "workdir": str,
        "file": str,
        "weights": str,
        "take": tuple[Pattern, ...],
        "fresh": tuple[Pattern, ...],
    },
    "data": {
        "train": Annotated[_Function, kinds.SOURCE],
        "decode": Annotated[_Function, kinds.DECODER],
        "augment": Annotated[_Function, kinds.AUGMENTATION],
        "max_bad_share": Fraction,
        "repeats": PositiveInt,
        "workers": _Workers,
        "threads": _Threads,
    },
    "compare": Mapping[str, tuple[str, ...]],
    "train": {
        "epochs": _Epochs,
        "batch_size": PositiveInt,
        "micro_batches": PositiveInt,
        "max_bad_steps": NonNegativeInt,
    },
    "ema": Annotated[_Function, kinds.MOMENTUM] | None,
    "optim": Annotated[_Function, kinds.OPTIMISER],
    "schedule": Annotated[_Function, kinds.SCHEDULE],
    "mesh": {
        "data": _Devices,
        "fsdp": _Devices,
        "sequence": _Devices,
        "tensor": _Devices,
        "rules": str,
    },
    "checkpoint": {
        "every_epochs": NonNegative,
        "keep_latest": PositiveInt,
        "keep_every_epochs": NonNegative,
    },
    "log": {
        "every_steps": PositiveInt,
        "pictures_every_epochs": NonNegative,
        "picture_channels": _Names,
        "trackers": Mapping[str, Annotated[_Function, kinds.TRACKER]],
    },
    "process": {
        "stuck_after_seconds": NonNegative,
        "stuck_elsewhere_seconds": NonNegative,
        "compile_cache": str,
    },
    "evals": {
        "train": _Labelled,
        "test": _Labelled,
        "decode": Annotated[_Function, kinds.DECODER] | None,
        "transform": Annotated[_Function, kinds.AUGMENTATION],
        "batch_size": PositiveInt,
        "pooling": Literal["mean", "class"],
        "streams": tuple[str, ...],
        "every_epochs": NonNegative,
        "during": tuple[str, ...],
        "at_end": tuple[str, ...],
        "monitors": tuple[str, ...],
        "baselines": bool,
        "probes": Mapping[str, Annotated[_Function, kinds.PROBE]],
        "measures": Mapping[str, Annotated[_Function, kinds.MEASURE]],
    },
}


class Entry(NamedTuple):
    """A key of a config: its dotted path, its value, and the annotation of what it takes.

    annotation: Any where nothing is declared; a dict of annotations for a section of `KEYS`.
    """

    path: str
    value: Any
    annotation: Any


def entries(config: ConfigDict) -> Iterator[Entry]:
    """Yield every key of a config, sections before what is in them.

    Raises BrickError for a brick that does not exist, and for a method that is not one.
    """
    declared = dict(KEYS)
    if "method" in config:
        try:
            method = resolve(config.method, kinds.METHOD)
        except BrickError as error:
            raise BrickError(f"method: {error}") from error
        if wrong := check.of_another_kind(config.method, method, kinds.METHOD):
            raise BrickError(f"method: {wrong}")
        declared |= {name: p.annotation for name, p in hyperparameters(method).items()}
    _check_rules(config)
    yield from _inside(config, declared, "")


def _check_rules(config: ConfigDict) -> None:
    """Raise BrickError where `mesh.rules` names no function of sharding rules."""
    if "mesh" not in config or "rules" not in config.mesh:
        return
    path = config.mesh.rules
    try:
        function = resolve(path, kinds.RULES)
    except BrickError as error:
        raise BrickError(f"mesh.rules: {error}") from error
    wrong = check.of_another_kind(path, function, kinds.RULES)
    if not wrong and (needed := required(path)):
        wrong = f"{path} needs {', '.join(needed)}, but the rules are called without arguments"
    if wrong:
        raise BrickError(f"mesh.rules: {wrong}")


def _inside(section: ConfigDict, declared: Mapping[str, Any], prefix: str) -> Iterator[Entry]:
    for name, value in section.items():
        path = f"{prefix}{name}"
        annotation = declared.get(name, Any)
        yield Entry(path, value, annotation)
        if isinstance(value, ConfigDict):
            yield from _inside(value, _declared_inside(value, annotation), f"{path}.")


def _declared_inside(section: ConfigDict, annotation: Any) -> Mapping[str, Any]:
    """Return the annotations of the keys of a section."""
    if "brick" in section:
        known = hyperparameters(resolve(section.brick))
        return {name: parameter.annotation for name, parameter in known.items()}
    if isinstance(annotation, Mapping):
        return annotation
    if typing.is_typeddict(annotation):
        return typing.get_type_hints(annotation, include_extras=True)
    return dict.fromkeys(section, check.values_of_mapping(annotation) or Any)


def annotation_at(config: ConfigDict, path: str) -> Any:
    """Return the annotation of what a key takes, Any where nothing is declared."""
    found = (entry.annotation for entry in entries(config) if entry.path == path)
    return next(found, Any)


def takes_bricks(config: ConfigDict, path: str) -> bool:
    """Return whether a section takes bricks under any name, as `objectives` and `calls` do."""
    inner = check.values_of_mapping(annotation_at(config, path))
    return inner is not None and check.kind_at(inner) is not None


def takes_names(config: ConfigDict, path: str) -> bool:
    """Return whether a section of a config takes keys of any name; '' is the config itself.

    A section in place of the config, which lacks its method, takes none.
    """
    if not path:
        return "method" in config
    return check.values_of_mapping(annotation_at(config, path)) is not None


def wrong_values(config: ConfigDict) -> list[str]:
    """Return a sentence for each value of a config that is not allowed at its key.

    Those of `train` come first: config files derive others from them, such as the warm-up.
    """
    in_order = sorted(entries(config), key=lambda entry: not entry.path.startswith("train."))
    return [
        fault
        for path, value, annotation in in_order
        if not _is_checked_inside(value, annotation)
        for fault in check.faults(value, annotation, path, function_at)
    ]


def _is_checked_inside(value: Any, annotation: Any) -> bool:
    """Return whether the keys of a section say all that there is to say."""
    if isinstance(annotation, Mapping) or typing.is_typeddict(annotation):
        return isinstance(value, ConfigDict)
    is_section = isinstance(value, ConfigDict) and "brick" not in value
    return is_section and check.values_of_mapping(annotation) is not None
