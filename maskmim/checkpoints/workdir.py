"""The work directory of a run: its config, and what may change when the run is continued."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from maskmim.config.parse import ConfigError
from maskmim.config.serialize import differences, from_json, to_json
from maskmim.config.upgrade import upgrade
from maskmim.files import write_atomic
from maskmim.runtime import processes


class Rule(NamedTuple):
    """Whether a key, or a section with its keys, may change when a run is continued, and why."""

    key: str
    free: bool
    why: str


# The first rule that fits a key counts.
RULES = (
    Rule(
        "train.epochs",
        True,
        "the schedule is that of the new length from the next step on; a length that is already "
        "passed ends the run where it is",
    ),
    Rule("train.micro_batches", True, "the gradient is the same, up to the order of sums"),
    Rule("train.batch_size", False, "steps and the place in the data are counted in batches"),
    Rule("train.max_bad_steps", True, "a limit, which changes no update"),
    Rule("mesh", True, "any mesh reads what another wrote"),
    Rule("checkpoint", True, "it changes what is kept, not what is learnt"),
    Rule("log", True, "it changes what is written, not what is learnt"),
    Rule("evals", True, "it changes what is measured, not what is learnt"),
    Rule("process", True, "limits and stored programs change nothing that is learnt"),
    Rule("data.workers", True, "batches do not depend on who reads them"),
    Rule("data.threads", True, "batches do not depend on who reads them"),
    Rule("data.max_bad_share", True, "a limit, which changes no batch"),
    Rule("data", False, "the examples left of this epoch would be others"),
    Rule("seed", False, "order, augmentation and masks are drawn from it"),
    Rule("input", False, "the stored network has the shapes of the old input"),
    Rule("model", False, "the stored parameters are those of the old network"),
    Rule("optim", False, "the results would be those of neither setting"),
    Rule("schedule", False, "the results would be those of neither schedule"),
    Rule("mask", False, "the results would be those of neither mask"),
)
REST = Rule("anything else", False, "it changes what is learnt")


def save_config(workdir: Path, config: ConfigDict, *, begun: bool, write: bool = True) -> None:
    """Writes config.json, after checking that it continues the run that is there.

    begun: whether there is a checkpoint; without one nothing is lost by another config.
    write: False for all processes but one, which check only.
    Says what changed where that is allowed. Raises ConfigError listing what differs, where that
    would change the results of the run.
    """
    path = workdir / "config.json"
    if begun and path.exists():
        for line in check_continues(load_config(workdir), config, workdir):
            processes.say(f"changed for the rest of the run: {line}")
    if write:
        write_atomic(path, to_json(config))


def check_continues(old: ConfigDict, new: ConfigDict, workdir: Path) -> list[str]:
    """What `new` changes, a line for each key; ConfigError where a run may not change it."""
    found = [(line, rule_of(line.partition(":")[0])) for line in differences(old, new)]
    denied = [f"{line}  ({rule.why})" for line, rule in found if not rule.free]
    if denied:
        listed = "\n  ".join(denied)
        raise ConfigError(
            f"{workdir} holds a run with another config:\n  {listed}\n"
            "Use the same values to continue it, or another --workdir to begin a new run"
        )
    return [f"{line}  ({rule.why})" for line, rule in found]


def rule_of(key: str) -> Rule:
    """The rule for a dotted key: the first that names it or a section that it is in."""
    fitting = (rule for rule in RULES if key == rule.key or key.startswith(f"{rule.key}."))
    return next(fitting, REST)


def load_config(workdir: Path) -> ConfigDict:
    """Return the config of a run, brought to this version; ConfigError where there is none."""
    path = workdir / "config.json"
    if not path.exists():
        raise ConfigError(
            f"{workdir} holds no run (config.json is missing): give the --workdir of a training"
        )
    return upgrade(from_json(path.read_text(encoding="utf-8")))


def table() -> str:
    """What may change when a run is continued, as a Markdown table for the docs."""
    rows = [
        f"| {f'`{rule.key}`' if rule is not REST else rule.key} | "
        f"{'yes' if rule.free else 'no'} | {rule.why} |"
        for rule in (*RULES, REST)
    ]
    head = ["| key | may change | because |", "|---|---|---|"]
    return "\n".join([*head, *rows])
