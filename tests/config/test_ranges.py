"""Ranges: every number and choice of the package declares its own, and wrong values are refused."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import pytest

import maskmim
from maskmim.config import base, bind, brick, load, override
from maskmim.config.bricks import BrickError, hyperparameters
from maskmim.config.check import allows, describe, kind_at
from maskmim.config.parse import ConfigError
from maskmim.config.ranges import (
    Ascending,
    AtLeastOne,
    Band,
    DtypeName,
    Fraction,
    FractionBelowOne,
    FractionRange,
    Limits,
    NonNegative,
    OneOf,
    OpenFraction,
    Positive,
    PositiveInt,
    PositiveOrInf,
    Seed,
    Size2D,
    Sizes,
)
from maskmim.config.sections import KEYS, entries
from tests.config.examples import message
from tests.running import ROOT

HERE = __name__
NAN, INF = float("nan"), float("inf")
# Rooms whose functions configs name.
ROOMS = "data evals generate losses masks methods models objectives optim quantize schedules"
ROOMS += " modalities targets teachers training"
# Names of the positional arguments of bricks, as in docs/architecture.md, and of what they take.
BRICKS = {
    (), ("spec",), ("codes", "classes", "length"), ("width",), ("randomness", "context"),
    ("key", "progress"), ("progress",), ("place",), ("view",), ("prediction", "target"),
    ("distances",), ("net", "params", "context"), ("schedule", "batch_size"), ("span",),
    ("rng", "encoded"), ("rng", "encoded", "channels"), ("rng", "image", "size"),
    ("rng", "clip", "size"),
    ("rng", "samples", "size"), ("features",), ("table", "old", "new"),
    ("logits_of", "ids", "mask_id", "randomness", "start"),
}  # fmt: skip
# Not bricks, but called as one is: their numbers come from the program.
HELPERS = {"maskmim.evals.report.build_results", "maskmim.optim.compose.compose"}


def none(value: Any) -> None:
    """No value is a brick."""


def bricks() -> list[tuple[str, Callable]]:
    """(dotted path, function) of every public function that is called as a brick is."""
    found = []
    for room in ROOMS.split():
        package = importlib.import_module(f"maskmim.{room}")
        for entry in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(entry.name)
            for name, function in inspect.getmembers(module, inspect.isfunction):
                path = f"{entry.name}.{name}"
                if function.__module__ != entry.name or name.startswith("_") or path in HELPERS:
                    continue
                named = inspect.signature(function).parameters.values()
                positional = tuple(p.name for p in named if p.kind is p.POSITIONAL_OR_KEYWORD)
                if positional in BRICKS and hyperparameters(function):
                    found.append((path, function))
    return found


def bare(annotation: Any) -> bool:
    """Whether an annotation allows a number without a range."""
    if typing.get_origin(annotation) is Annotated:
        plain, *marks = typing.get_args(annotation)
        ranged = plain in (int, float) and any(isinstance(mark, Limits | OneOf) for mark in marks)
        return not ranged and bare(plain)
    if kind_at(annotation) or typing.get_origin(annotation) is Literal:
        return False
    return annotation in (int, float) or any(map(bare, typing.get_args(annotation)))


def test_every_number_of_every_brick_declares_its_range():
    assert len(bricks()) > 150
    wrong = [
        f"{path}: {name} is {parameter.annotation}: declare a range of maskmim.config.ranges"
        for path, function in bricks()
        for name, parameter in hyperparameters(function).items()
        if isinstance(parameter.annotation, str) or bare(parameter.annotation)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_default_is_in_its_range():
    wrong = [
        f"{path}: {name} = {parameter.default!r}"
        for path, function in bricks()
        for name, parameter in hyperparameters(function).items()
        if parameter.default is not inspect.Parameter.empty
        and not allows(parameter.annotation, parameter.default, _itself)
    ]
    assert not wrong, "\n".join(wrong)


def _itself(value: Any) -> Callable | None:
    return value if callable(value) else None


def test_every_key_of_a_new_config_declares_what_it_takes():
    undeclared = [entry.path for entry in entries(base()) if entry.annotation is Any]
    assert [path for path in undeclared if path.rpartition(".")[2] not in ("brick", "method")] == []


def test_the_package_has_the_rooms_of_this_test():
    rooms = {entry.name for entry in pkgutil.iter_modules(maskmim.__path__) if entry.ispkg}
    others = {"checkpoints", "config", "interop", "mask_tools", "planning", "reporting", "runtime"}
    others |= {"embedding", "exports", "inference", "types"}
    assert rooms - others == set(ROOMS.split())


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (Positive, (1e-9, 3, 1e30), (0, -1, NAN, INF, "1", None, True, (1.0,))),
        (PositiveOrInf, (1, INF), (0, NAN, -INF)),
        (NonNegative, (0, 0.0), (-1e-9, NAN, INF)),
        (Fraction, (0, 0.5, 1), (-0.1, 1.1, NAN)),
        (OpenFraction, (0.5,), (0, 1, NAN, 75)),
        (FractionBelowOne, (0, 0.99), (1, 1.0, NAN)),
        (PositiveInt, (1, 10**6), (0, -1, 1.0, NAN, True, "1")),
        (Seed, (0, 2**63 - 1), (2**63, -1, 0.0)),
        (Size2D, ((2, 3), [2, 3]), ((2,), (2, 3, 4), (0, 3), 2, (2.0, 3), ())),
        (Sizes, ((2,), (2, 3, 4)), ((), (0,), (2, -2), 2)),
        (Band, ((1.0, 2.0),), ((2.0, 1.0), (1.0, 1.0), (1.0,), (1.0, 2.0, 3.0), (0.0, 1.0))),
        (FractionRange, ((0.2, 1.0), (1, 1)), ((1.0, 0.2), (0.0, 1.0), (0.2, 1.5), (NAN, 1.0), 1)),
        (Positive | None, (None, 1.0), (0.0, NAN)),
        (Positive | tuple[Positive, ...], (1.0, (1.0, 2.0)), (0.0, (1.0, 0.0), "a")),
        (Mapping[str, PositiveInt | None], ({"a": None, "b": 3}, {}), ({"a": 0}, 3, (1,))),
        (DtypeName, ("float32", "bfloat16"), ("float16", "bf16", "", None, 32)),
        (tuple[tuple[str, NonNegative], ...], ((), (("a", 1.0),)), ((("a",),), (("a", -1.0),))),
        (bool, (True,), (1, "True", None)),
        (Any, (None, 3, "x"), ()),
    ],
)
def test_values_in_and_out_of_a_range(annotation, good, bad):
    assert [value for value in good if not allows(annotation, value, none)] == []
    assert [value for value in bad if allows(annotation, value, none)] == []


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (OpenFraction, "a number between 0 and 1 (both excluded)"),
        (PositiveInt | None, "a whole number of at least 1 or None"),
        (Size2D, "two whole numbers of at least 1"),
        (Sizes, "one or more whole numbers of at least 1"),
        (Band, "two numbers above 0, each above the one before it"),
        (FractionRange, "two numbers between 0 and 1 (0 excluded), in ascending order"),
        (DtypeName, "'float32' or 'bfloat16'"),
        (Seed, "a whole number between 0 and 2^63 - 1"),
        (Literal[-1] | PositiveInt, "-1 or a whole number of at least 1"),
        (Annotated[tuple[PositiveInt, ...], AtLeastOne(), Ascending()],
         "one or more whole numbers of at least 1, in ascending order"),
    ],
)  # fmt: skip
def test_ranges_in_words(annotation, words):
    assert describe(annotation) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train.batch_size=0", "train.batch_size: expected a whole number of at least 1, got 0"),
        ("train.micro_batches=-1", "train.micro_batches: expected a whole number of at least 1"),
        ("train.epochs=nan", "train.epochs: expected a number between 0 and 1e+06 (0 excluded)"),
        ("train.epochs=0", "train.epochs: expected a number"),
        ("data.workers=-1", "data.workers: expected a whole number between 0 and 1024, got -1"),
        ("seed=9223372036854775808", "seed: expected a whole number between 0 and 2^63 - 1"),
        ("input.size=-32,32", "input.size: expected one or more whole numbers of at least 1"),
        ("input.std=0.2,-0.2,0.2", "input.std: expected one or more numbers above 0"),
        ("input.mean=nan,0,0", "input.mean: expected one or more numbers other than inf and nan"),
        ("model.patch=0,0", "model.patch: expected one or more whole numbers of at least 1"),
        ("model.heads.pixels=0", "model.heads.pixels: expected a whole number of at least 1"),
        ("model.compute.dtype=bf16", "got 'bf16'; did you mean bfloat16?"),
        ("model.compute.dtype=fp16", "float16 needs a scaled loss"),
        ("model.compute.dtype=float16", "use bfloat16"),
        ("model.compute.remat=ful", "did you mean 'full'?"),
        ("model.positions=sincoss", "did you mean 'sincos'?"),
        (
            "mask.ratio=nan",
            "mask.ratio: expected a number between 0 and 1 (both excluded), got nan",
        ),
        ("data.augment.scale=1,0.5", "in ascending order, got (1.0, 0.5)"),
        ("data.augment.scale=0.5", "data.augment.scale: expected two numbers"),
        ("optim.lr=-1", "optim.lr: expected a number above 0 and at most 1e6, got -1.0"),
        ("evals.pooling=max", "evals.pooling: expected 'mean' or 'class', got 'max'"),
        ("mesh.data=0", "mesh.data: expected -1 or a whole number of at least 1, got 0"),
    ],
)
def test_an_override_out_of_range_names_the_key_the_range_and_the_value(text, words):
    said = message(override, base(), [text])
    assert words in said and said.count("\n") == 0, said


def test_all_that_is_wrong_is_named_at_once():
    said = message(override, base(), ["train.batch_size=0", "mask.ratio=2", "seed=-1"])
    assert [line.split(":")[0].strip() for line in said.splitlines()] == [
        "train.batch_size", "mask.ratio", "seed",
    ]  # fmt: skip


def test_a_config_file_with_a_value_out_of_range_is_refused(tmp_path):
    file = tmp_path / "odd.py"
    file.write_text(
        "from maskmim.config import base\n\ndef get_config(arg=''):\n    config = base()\n"
        "    config.train.batch_size = 0\n    return config\n"
    )
    assert message(load, str(file)).startswith("train.batch_size: expected a whole number")


def blurred(
    randomness, context, *, sigmas: tuple[Positive, Positive] = (1.0, 2.0), inner: Any = None
):
    """A sampler of someone's own package."""


def test_bind_checks_ranges_also_inside_and_without_a_config():
    assert bind(brick(f"{HERE}.blurred", sigmas=(1, 3))).keywords["sigmas"] == (1, 3)
    with pytest.raises(BrickError, match=r"blurred: sigmas: expected two numbers above 0"):
        bind(brick(f"{HERE}.blurred", sigmas=(1.0, 2.0, 3.0)))
    inner = brick(f"{HERE}.blurred", sigmas=(0.0, NAN))
    with pytest.raises(BrickError, match=r"mask\.inner\.sigmas: expected two numbers"):
        bind(brick(f"{HERE}.blurred", inner=inner), "mask")


BAD = (NAN, -1, -0.5, "no such choice")
# Keys for which one of BAD can be meant, besides means and shifts; -1: the devices that are left.
MEANT = {"mesh.data", "mesh.fsdp", "mesh.sequence", "mesh.tensor"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.stem
)
def test_no_number_of_a_config_takes_what_cannot_be_meant(path):
    config = load(f"{path}:path=." if path.stem == "folder" else str(path))
    taken = [
        f"{key} = {value!r} takes {bad!r}"
        for key, value, annotation in entries(config)
        if key not in MEANT
        and not key.endswith(("mean", "shift"))
        and isinstance(value, int | float | tuple)
        and value != ()
        for bad in BAD
        if not isinstance(value, bool) and allows(annotation, _like(value, bad), none)
    ]
    assert [line for line in taken if not _of_texts(line)] == []


def _like(value: Any, bad: Any) -> Any:
    return (bad,) * len(value) if isinstance(value, tuple) else bad


def _of_texts(line: str) -> bool:
    """Whether a key takes tuples of free text, where text is meant."""
    return "no such choice" in line and "= ('" in line


def test_the_table_of_keys_has_no_key_that_no_config_has():
    known = {entry.path for entry in entries(base())} | {"compare"}  # of finetune

    def paths(table: Mapping[str, Any], prefix: str = ""):
        for name, inner in table.items():
            yield f"{prefix}{name}"
            if isinstance(inner, Mapping):
                yield from paths(inner, f"{prefix}{name}.")

    assert set(paths(KEYS)) <= known


def test_one_of_some_numbers():
    override(load("videomae:dual,tiny"), ["mask.decoded=0.25"])
    with pytest.raises(ConfigError, match=r"mask\.decoded: expected 0\.25 or 0\.5 or 0\.75, got"):
        override(load("videomae:dual,tiny"), ["mask.decoded=0.3"])
