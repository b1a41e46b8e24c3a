"""Kinds of bricks: what a function is called with and what it returns, as its signature says.

A config section of a brick takes functions of one kind. Those that `docs/architecture.md` lists are
named here; a keyword that is annotated `Callable[[Array, Array], Array]` makes a kind without a
name. A function is refused where its signature shows another kind: too few or too many positional
arguments, keywords that are missing, or a return annotation of another kind. What a signature
leaves open passes.
"""

from __future__ import annotations

import collections.abc
import difflib
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maskmim.config.facts import function_of

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Kind:
    """A kind of function.

    name:     with its article, 'a sampler'.
    takes:    names of the positional arguments that it is called with; None for any.
    returns:  names of the types that it may return; () for any.
    keywords: names of hyperparameters that it must have.
    home:     the package of maskmim that has functions of this kind, '' for none.
    example:  the path of one, '' for none.
    by_name:  names of further arguments that it is called with, as keywords.
    of:       the name of its first argument's type, '' for any.
    """

    name: str
    takes: tuple[str, ...] | None
    returns: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    home: str = ""
    example: str = ""
    by_name: tuple[str, ...] = ()
    of: str = ""

    def describe(self) -> str:
        """Return the kind in words: 'a loss, a function (prediction, target, *, ...) -> Array'."""
        takes = ("...",)
        if self.takes is not None:
            takes = (*self.takes, *self.by_name, "*", *self.keywords, "...")
        shape = f"function ({', '.join(takes)})"
        if self.returns:
            shape += f" -> {self.returns[0]}"
        return f"{self.name}, a {shape}" if self.name else f"a {shape}"


_ARRAYS = ("Array", "ndarray")
_MADE = (*_ARRAYS, "dict")

MODEL = Kind(
    "a model",
    ("spec",),
    ("Net",),
    home="maskmim.models",
    example="maskmim.models.masked_vit.vit_mae",
)
SAMPLER = Kind("a sampler", ("randomness", "context"), ("Mask",), home="maskmim.masks")
TEACHER = Kind("a teacher", (), ("Teacher",), home="maskmim.teachers")
OBJECTIVE = Kind("an objective", (), ("Objective",), home="maskmim.objectives")
PAIR_OBJECTIVE = Kind(
    "an objective of pairs of views", (), ("PairObjective",), home="maskmim.objectives"
)
SAMPLER_OF_VIEWS = Kind(
    "a sampler of views", ("randomness", "context"), ("tuple",), home="maskmim.masks.views"
)
TARGET = Kind("a target", ("view",), _ARRAYS, home="maskmim.targets")
LOSS = Kind("a loss", ("prediction", "target"), _ARRAYS, home="maskmim.losses")
LEARNED = Kind(
    "a learned function",
    ("width",),
    ("LearnedFunction",),
    home="maskmim.models",
    example="maskmim.models.prototypes.prototypes",
)
OPTIMISER = Kind(
    "an optimiser",
    ("schedule", "batch_size"),
    ("GradientTransformation", "GradientTransformationExtraArgs"),
    ("lr", "lr_per"),
    home="maskmim.optim",
    example="maskmim.optim.adamw",
)
SCHEDULE = Kind(
    "a schedule",
    ("span",),
    ("Schedule", "Callable"),
    home="maskmim.schedules",
    example="maskmim.schedules.warmup_cosine",
)
SOURCE = Kind("a data source", (), ("Records",), home="maskmim.data")
DECODER = Kind("a decoder", ("rng", "encoded"), _MADE, home="maskmim.data", by_name=("channels",))
AUGMENTATION = Kind(
    "an augmentation", ("rng", "array"), _MADE, home="maskmim.data", by_name=("size",)
)
_SERIES = ("Iterator", "Metrics")
PROBE = Kind("a probe", ("features",), _SERIES, home="maskmim.evals", of="Features")
MEASURE = Kind("a measure", ("trained",), _SERIES, home="maskmim.evals", of="Trained")
METHOD = Kind(
    "a method",
    ("spec",),
    ("Method",),
    home="maskmim.methods",
    example="maskmim.methods.masked.masked",
)
MODALITY = Kind(
    "a kind of stream",
    (),
    ("Modality",),
    home="maskmim.modalities",
    example="maskmim.modalities.image",
)
TRACKER = Kind(
    "a tracker",
    (),
    ("Tracker",),
    home="maskmim.reporting.trackers",
    example="maskmim.reporting.trackers.wandb",
)
MOMENTUM = Kind(
    "a schedule of a momentum",
    ("progress",),
    _ARRAYS,
    home="maskmim.teachers.momentum",
    example="maskmim.teachers.momentum.constant",
)
RULES = Kind(
    "sharding rules",
    (),
    ("Rules", "Sequence", "tuple", "list"),
    home="maskmim.training",
    example="maskmim.training.sharding.transformer",
)

# Annotations of keywords that mean a kind with a name, by the names in them.
_NAMED = (MODEL, SAMPLER, SAMPLER_OF_VIEWS, TEACHER, OBJECTIVE, PAIR_OBJECTIVE, LEARNED)
# Names of the types that bricks return: a function that returns another of them is of another kind.
_TOLD_APART = frozenset(
    {
        *(name for kind in (*_NAMED, OPTIMISER, SCHEDULE, PROBE) for name in kind.returns),
        *(name for kind in (METHOD, MODALITY, TRACKER) for name in kind.returns),
        *_MADE,
        *("Codebook", "Critic", "Frozen", "PictureCodes", "TokenModel", "Tokenizer", "Compute"),
        *("bool", "float", "int", "str", "list", "tuple", "NoneType"),
    }
)


def kind_of(annotation: Any) -> Kind:
    """Return the kind that an annotation such as Callable[[Spec], Net] stands for."""
    takes, returned = (typing.get_args(annotation) or (..., Any))[:2]
    words = None if takes is ... else tuple(_head(each).lower() for each in takes)
    returns = tuple(head for head in _heads(returned) if head)
    for kind in _NAMED:
        if returns == kind.returns[:1] and (words is None or len(words) == len(kind.takes)):
            return kind
    known = returns and returns[0] in _TOLD_APART
    return Kind("", words, (_ARRAYS if returns[0] in _ARRAYS else returns) if known else ())


def is_callable_annotation(annotation: Any) -> bool:
    """Return whether an annotation is a Callable, with or without its arguments."""
    return collections.abc.Callable in (typing.get_origin(annotation), annotation)


def misfit(function: Callable, kind: Kind) -> str:
    """Return why a function, bound or not, is not of a kind; '' where its signature fits."""
    function = function_of(function)
    if inspect.isbuiltin(function) and kind.returns and not {*_MADE, "tuple"} & {*kind.returns}:
        return f"it is a built-in function, which returns no {kind.returns[0]}"
    try:
        signature = _signature(function)
    except (TypeError, ValueError):  # built-in functions without a signature
        return "its keywords cannot be read" if kind.keywords else ""
    parameters = signature.parameters.values()
    names = {each.name for each in parameters}
    open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    asked = (*kind.by_name, *kind.keywords)
    missing = [name for name in asked if name not in names and not open_ended]
    if missing:
        return f"it has no keyword {' and no '.join(missing)}"
    if inspect.isclass(function):
        if kind.takes:  # every field of a class is a hyperparameter
            return "it is a class, which takes no positional arguments as a brick"
        heads = (function.__name__,)
    else:
        if reason := _other_arguments(parameters, kind):
            return reason
        if reason := _of_another_type(parameters, kind):
            return reason
        heads = _heads(signature.return_annotation)
    other = [head for head in heads if head in _TOLD_APART and head not in kind.returns]
    if kind.returns and heads and len(other) == len(heads):
        return f"it returns {heads[0]}"
    return ""


def _other_arguments(parameters: Any, kind: Kind) -> str:
    """Return why the positional arguments of a function are not those of a kind, or ''."""
    if kind.takes is None or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return ""
    positional = [p for p in parameters if p.kind in _POSITIONAL and p.name not in kind.by_name]
    least = sum(p.default is inspect.Parameter.empty for p in positional)
    if least <= len(kind.takes) <= len(positional):
        return ""
    shown = ", ".join(p.name for p in positional)
    return f"it is called with ({shown})"


def _of_another_type(parameters: Any, kind: Kind) -> str:
    """Return why the first argument of a function is not of the type of a kind, or ''."""
    first = next((each for each in parameters if each.kind in _POSITIONAL), None)
    heads = _heads(first.annotation) if kind.of and first else ()
    if not heads or kind.of in heads:
        return ""
    return f"it is called with {heads[0]}, not with {kind.of}"


def _signature(function: Callable) -> inspect.Signature:
    """Return a signature, its annotations evaluated where they can be."""
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, TypeError, AttributeError):  # annotations for type checkers only
        return inspect.signature(function)


def _heads(annotation: Any) -> tuple[str, ...]:
    """Return the names of the types of an annotation, without their arguments; () for any."""
    if annotation in (inspect.Parameter.empty, Any):
        return ()
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(_head(part) for part in typing.get_args(annotation))
    if isinstance(annotation, str):
        words = [part.strip().partition("[")[0] for part in annotation.split("|")]
        return tuple(word.rpartition(".")[2] for word in words)
    return (_head(annotation),)


def _head(annotation: Any) -> str:
    """Return the name of one type without its arguments."""
    plain = typing.get_origin(annotation) or annotation
    return getattr(plain, "__name__", str(plain)).rpartition(".")[2]


def names_of_kind(module: types.ModuleType, kind: Kind | None) -> list[str]:
    """Return names of the public functions that a module defines or exports, of a kind or all."""
    exported = getattr(module, "__all__", ())
    return [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and (getattr(value, "__module__", "") == module.__name__ or name in exported)
        and (kind is None or (not misfit(value, kind) and _states(value, kind)))
    ]


def _states(function: Callable, kind: Kind) -> bool:
    """Return whether a signature says that the function is of a kind, not only leaves it open."""
    try:
        signature = _signature(function)
    except (TypeError, ValueError):
        return False
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in signature.parameters.values()):
        return False
    heads = _heads(signature.return_annotation)
    return any(head in kind.returns or head.endswith(kind.returns[:1]) for head in heads)


def suggestion(kind: Kind, name: str) -> str:
    """Return '; did you mean PATH?' or '; there are PATHS' for a function of a kind, or nothing."""
    if not kind.home:
        return ""
    home = importlib.import_module(kind.home)
    paths = [f"{kind.home}.{each}" for each in names_of_kind(home, kind)]
    for entry in () if paths else pkgutil.iter_modules(home.__path__, f"{kind.home}."):
        module = importlib.import_module(entry.name)
        paths += [f"{entry.name}.{each}" for each in names_of_kind(module, kind)]
    last = {path.rpartition(".")[2]: path for path in paths}
    near = difflib.get_close_matches(name, last, 1, 0.6)
    if near:
        return f"; did you mean {last[near[0]]}?"
    few = 0 < len(paths) <= 12
    return f"; there are {', '.join(paths)}" if few else f"; {kind.home} has such functions"
