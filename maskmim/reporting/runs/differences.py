"""The config keys in which several runs differ, with the runs that have each value."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from maskmim.config.bricks import BrickError
from maskmim.config.print_config import RESULT, mark_of
from maskmim.config.serialize import differences, from_json, leaves, to_json
from maskmim.config.upgrade import upgrade
from maskmim.reporting.runs.summary import RunSummary

ABSENT = "(absent)"


def differing_keys(configs: Mapping[str, ConfigDict]) -> dict[str, dict[str, list[str]]]:
    """Return {key: {value as text: names of the configs that have it}} where configs differ."""
    first, *others = configs.values()
    keys = {line.partition(": ")[0] for other in others for line in differences(first, other)}
    values = {name: dict(leaves(config)) for name, config in configs.items()}
    found: dict[str, dict[str, list[str]]] = {}
    for key in sorted(keys, key=lambda key: (mark_of(key) != RESULT, key)):
        for name, of_run in values.items():
            text = _text(of_run[key]) if key in of_run else ABSENT
            found.setdefault(key, {}).setdefault(text, []).append(name)
    return {key: values for key, values in found.items() if not _follows(key, found)}


def _follows(key: str, found: Mapping[str, Mapping[str, Sequence[str]]]) -> bool:
    """Return whether a key differs only because its whole section is absent somewhere."""
    section, _, last = key.rpartition(".")
    return (
        last != "brick"
        and ABSENT in found.get(f"{section}.brick", {})
        and ABSENT in found[key]
        and len(found[key]) == 2
    )


def difference_table(runs: Sequence[RunSummary], width: int) -> str:
    """Return the config keys in which runs differ as text, those that change what is learnt first.

    Configs of earlier versions are brought to this one; one that cannot be is compared as stored.
    """
    known = [run for run in runs if run.config]
    if len(known) < 2:
        return "Fewer than two of these runs have a config that can be read."
    notes: list[str] = []
    configs = {run.name: _upgraded(run, notes) for run in known}
    found = differing_keys(configs)
    if not found:
        return "\n".join(["Their configs are the same.", *notes])
    lines: list[str] = []
    for marked, title in (
        (True, "Config keys that differ"),
        (False, "Keys that differ, of speed, logs and evaluation"),
    ):
        part = {key: values for key, values in found.items() if (mark_of(key) == RESULT) is marked}
        if part:
            lines += ["", title, "-" * len(title), *_rows(part, len(known), width)]
    return "\n".join([*lines[1:], *notes])


def _upgraded(run: RunSummary, notes: list[str]) -> ConfigDict:
    try:
        return upgrade(from_json(to_json(run.config)))
    except (BrickError, KeyError, AttributeError, TypeError) as error:
        notes.append(f"\n{run.name}: its config is compared as it is stored ({error})")
        return run.config


def _rows(found: Mapping[str, Mapping[str, Sequence[str]]], count: int, width: int) -> list[str]:
    """Return a line for each value of each key, with the runs that have it."""
    longest = min(38, max(map(len, found)))
    wide = max(len(value) for values in found.values() for value in values)
    wide = min(44, wide, width - longest - 24)
    lines = []
    for key, values in found.items():
        most = max(values, key=lambda value: len(values[value]))
        rest = most if len(values[most]) > max(3, count / 2) else ""
        for index, value in enumerate(sorted(values, key=lambda value: (value == rest, value))):
            names = values[value]
            who = f"the other {len(names)}" if value == rest else ", ".join(names)
            head = f"{key if index == 0 else '':<{longest}}  {value:<{wide}}"
            lines += _beside(head, who, longest + wide + 4, width)
    return lines


def _beside(head: str, text: str, indent: int, width: int) -> list[str]:
    """Return a text behind a head, below it where the head is too long."""
    body = textwrap.wrap(text, width - indent, break_on_hyphens=False)
    if len(head) > indent - 2:
        return [
            *textwrap.wrap(head, width, subsequent_indent="  "),
            *(" " * indent + b for b in body),
        ]
    return [f"{head}  {body[0]}", *(" " * indent + line for line in body[1:])]


def _text(value: object) -> str:
    text = str(int(value)) if type(value) is float and value.is_integer() else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
