"""What a measure may need, and a sentence where a training does not have it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from maskmim.config.facts import facts_of
from maskmim.evals.agreement import averaged
from maskmim.training.build import Assembly

NO_TEST = "evals.test names no images: name some, labelled or not (--config.evals.test.brick=...)"
NO_TRAINING = "evals.train names no images: name some (--config.evals.train.brick=...)"


def _labels(parts: Assembly) -> str:
    if parts.evals.test is None:
        return NO_TEST
    if not parts.evals.test().labels:
        return "the images of evals.test have no labels; name a labelled set there"
    return ""


def _label_maps(parts: Assembly) -> str:
    if any(spec.classes for spec in parts.spec.streams.values()):
        return ""
    return "examples have no stream of classes (input.streams.<name>.classes)"


def _student(parts: Assembly) -> str:
    has_average = averaged(parts.shapes.params, parts.shapes.extra) is not None
    if has_average or "encode_student" in parts.method.apply:
        return ""
    return "this method has no teacher that averages its encoder"


def _entry(name: str, what: str) -> Callable[[Assembly], str]:
    """Return what says whether a method has an entry of `Method.apply`."""

    def missing(parts: Assembly) -> str:
        return "" if name in parts.method.apply else f"this method has no {what}"

    return missing


# {need: parts -> why it is not there, '' where it is}. Names as in config.facts.MEASURE_NEEDS.
NEEDS: Mapping[str, Callable[[Assembly], str]] = {
    # Pooled features: every method encodes.
    "features": _entry("encode", "encoder"),
    # Class indices of test images.
    "labels": _labels,
    # Dense features beside label maps: a stream of classes in every example.
    "label_maps": _label_maps,
    # The loss that the method is trained with; every method that is trained draws masks.
    "loss": _entry("mask", "objective, as weights of an encoder alone have none"),
    # Generated examples.
    "samples": _entry("generate", "way to generate samples"),
    # Features of a student beside those of its averaged weights.
    "student": _student,
    # Test images, labelled or not.
    "test": lambda parts: "" if parts.evals.test else NO_TEST,
    # Images to train something on, with labels or not.
    "training": lambda parts: "" if parts.evals.train else NO_TRAINING,
}


# Needs that the method decides, not the data.
OF_METHOD = ("features", "loss", "samples", "student")


def unmet(
    bricks: Mapping[str, Callable], parts: Assembly, among: Collection[str] = tuple(NEEDS)
) -> dict[str, str]:
    """Return {measure: why} of measures that need what a training does not have.

    among: the needs that are looked at.
    """
    reasons: dict[str, str] = {}
    for name, brick in bricks.items():
        needs = [need for need in facts_of(brick).needs if need in among]
        missing = (NEEDS[need](parts) for need in needs)
        if why := "; ".join(dict.fromkeys(filter(None, missing))):
            reasons[name] = why
    return reasons
