"""The model card of an exported folder, README.md: how to load it, how it was trained, results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from maskmim import __version__
from maskmim.checkpoints.continuation import BEGAN
from maskmim.checkpoints.workdir import PLACES
from maskmim.config.bricks import method_takes
from maskmim.errors import count_of
from maskmim.evals.comparison import stored_comparison
from maskmim.evals.report import probe_table
from maskmim.exports.counterpart import CLASSIFICATION, FEATURES
from maskmim.exports.preprocessing import crop_fraction
from maskmim.exports.provenance import Licence
from maskmim.exports.subject import AVERAGE, TRAINED, Subject
from maskmim.interop.initial_weights import describe

# Sections of the config that make the recipe, in the order of the computation.
RECIPE = ("model", "mask", "erase", "mix", "teachers", "calls", "objectives", "pairs", "ema")
RECIPE += ("optim", "schedule")
FOLDER = 'FOLDER = "path/to/this/folder"'
# A keyword in the text of a brick that says where something lies.
PLACE = re.compile(rf"\b(?:{'|'.join(PLACES)})=[^,)]*(?:, )?")
BAR = r"\|"  # in a table of Markdown


def card(
    subject: Subject,
    name: str,
    library: str,
    load: str,
    remarks: Sequence[str],
    licence: Licence,
    task: str = FEATURES,
) -> str:
    """Return the text of README.md, with YAML metadata in front.

    name:    of the run. library: that loads the folder, as the metadata name it.
    load:    lines of Python, in which FOLDER is the folder. remarks: about the conversion.
    licence: of weights that the run began from. task: see `Counterpart`.
    """
    parts = [
        _metadata(subject, library, licence, task),
        f"# {name}",
        _summary(subject),
        f"## Use\n\n```python\n{FOLDER}\n{load}\n```",
        *(f"- {remark}" for remark in remarks),
        f"## Input\n\n{_input(subject)}",
        f"## Training\n\n{_table(_recipe(subject))}",
        f"## Results\n\n{_results(subject)}",
        f"## Provenance\n\n{_provenance(subject, licence)}",
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(subject: Subject, library: str, licence: Licence, task: str) -> str:
    lines = ["---", f"library_name: {library}"]
    if len(subject.spec.size) == 2 and subject.spec.dtype == "uint8":
        lines.append(f"pipeline_tag: {task}")
    if licence.name:
        lines.append(f"license: {json.dumps(licence.name)}")
    method = subject.config.method.rpartition(".")[2]
    tags = dict.fromkeys(("maskmim", *_kind(subject.config), method))
    return "\n".join([*lines, "tags:", *(f"- {json.dumps(tag)}" for tag in tags), "---"])


def _kind(config: ConfigDict) -> tuple[str, ...]:
    """Return the hub's tag for what a method learns from."""
    if method_takes(config, "mask"):
        return ("masked-image-modeling",)
    return (CLASSIFICATION,) if config.input.labels else ()


def _summary(subject: Subject) -> str:
    seen = subject.step * subject.config.train.batch_size
    kinds = {TRAINED: "the trained ones", AVERAGE: "their moving average"}
    by = " by masked modelling" if method_takes(subject.config, "mask") else ""
    kind = kinds.get(subject.weights, f"the average {subject.weights!r}")
    return (
        f"Exported by maskmim {__version__} from step {subject.step:,} of a {subject.does}{by} "
        f"({count_of(seen, 'example')} seen); the weights are {kind}, in float32."
    )


def _input(subject: Subject) -> str:
    spec, fraction = subject.spec, crop_fraction(subject)
    sides = "x".join(map(str, spec.size))
    unit = "values in [0, 1]" if spec.dtype == "uint8" else f"{spec.dtype} values"
    words = f"{sides}, {count_of(spec.channels, 'channel')}; {unit}, minus {spec.mean}, divided by "
    crop = f" Evaluation crops the centre, {fraction:g} of the side, bicubic." if fraction else ""
    return f"{words}{spec.std}.{crop}"


def _recipe(subject: Subject) -> Iterator[tuple[str, str]]:
    config, train = subject.config, subject.config.train
    yield "method", config.method.removeprefix("maskmim.")
    for name in (name for name in RECIPE if name in config):
        if config[name] and (name != "mask" or method_takes(config, "mask")):
            yield name, in_words(config[name])
    yield "data", in_words(config.data.train)
    yield "augmentation", in_words(config.data.augment)
    yield "length", f"{train.epochs:g} epochs of batches of {train.batch_size}"
    yield "seed", str(config.seed)


def in_words(value: Any) -> str:
    """Return a section as text: masks.uniform.random(ratio=0.75); places of files are left out."""
    if not isinstance(value, ConfigDict):
        return str(value)
    keywords = {name: item for name, item in value.items() if name not in ("brick", *PLACES)}
    inner = ", ".join(f"{name}={in_words(item)}" for name, item in keywords.items())
    if "brick" in value:
        return f"{value.brick.removeprefix('maskmim.')}({inner})"
    return f"{{{inner}}}"


def _table(rows: Iterator[tuple[str, str]]) -> str:
    lines = [f"| {name} | `{text.replace('|', BAR)}` |" for name, text in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _results(subject: Subject) -> str:
    """Return what the evaluation of the run found, and later ones of other names."""
    parts = list(_found(subject, subject.results))
    for names, results in subject.later.items():
        parts += [f"### {names.replace('+', ', ')}", *_found(subject, results)]
    return "\n\n".join(parts) or "None: the run has no results.json."


def _found(subject: Subject, results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paragraphs of the results of one evaluation."""
    if results and results.get("step") != subject.step:
        yield f"Measured at step {results.get('step')}, not at that of these weights."
    if results and not subject.is_evaluated:
        yield "Measured with the averaged weights of the run, not with these."
    probes = results.get("probes")
    if probes:
        yield f"```\n{probe_table(probes).strip()}\n```"
        yield _protocol("Protocol, on frozen features:", probes["protocol"]["evaluators"])
    if table := stored_comparison(results):
        yield f"```\n{table}\n```"
    for name in ("reconstruction", "measures"):
        values = results.get(name) or {}
        numbers = _numbers(values.get("metrics", values))
        if numbers:
            yield f"{name.capitalize()}: {numbers}."
        if numbers and values.get("protocol"):
            yield _protocol("Settings of the measures:", values["protocol"])


def _protocol(heading: str, bricks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a list of evaluators with their keywords; places of files are left out."""
    lines = [heading, ""]
    for name, facts in bricks.items():
        keywords = ", ".join(f"{key}={value}" for key, value in facts["keywords"].items())
        text = f"{facts['brick'].removeprefix('maskmim.')}({keywords})"
        lines.append(f"- {name}: `{PLACE.sub('', text)}`")
    return "\n".join(lines)


def _numbers(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.rpartition('/')[2] if 'reconstruction' in name else name} {value:.4g}"
        for name, value in values.items()
        if isinstance(value, int | float)
    )


def _provenance(subject: Subject, licence: Licence) -> str:
    origin = subject.origin
    lines = []
    if BEGAN in origin:
        began = describe(origin[BEGAN])
        lines.append(f"{began[0].upper()}{began[1:]}.")
        lines.append(licence.sentence)
    else:
        lines.append("The training began from random parameters.")
    if "fingerprint" in origin:
        count = count_of(origin["examples"], "example")
        lines.append(f"Trained on {count}, fingerprint `{origin['fingerprint']}`.")
    if not licence.name:
        lines.append("Add `license:` to the metadata above before you publish this folder.")
    return "\n".join(lines)
