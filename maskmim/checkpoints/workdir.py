"""The work directory of a run: its config, and which settings may change when it continues."""

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
    """Whether a key, or a section with all its keys, may change when a run continues, and why."""

    key: str
    free: bool
    why: str


# The first rule that matches a key counts.
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


def save_config(
    workdir: Path, config: ConfigDict, *, has_checkpoint: bool, write: bool = True
) -> None:
    """Write config.json, after checking that it may continue the run in the folder.

    has_checkpoint: whether the run has one; without, any config may replace the old one.
    write:          False in all processes but one; they only check.
    Prints the changes that are allowed. Raises ConfigError with those that would change the results
    of the run.
    """
    path = workdir / "config.json"
    if has_checkpoint and path.exists():
        for line in check_changes(load_config(workdir), config, workdir):
            processes.print_once(f"changed for the rest of the run: {line}")
    if write:
        write_atomic(path, to_json(config))


def check_changes(old: ConfigDict, new: ConfigDict, workdir: Path) -> list[str]:
    """Return what `new` changes, a line for each key; raise ConfigError for forbidden changes."""
    changes = [(line, find_rule(line.partition(":")[0])) for line in differences(old, new)]
    forbidden = [f"{line}  ({rule.why})" for line, rule in changes if not rule.free]
    if forbidden:
        listed = "\n  ".join(forbidden)
        raise ConfigError(
            f"{workdir} holds a run with another config:\n  {listed}\n"
            "Use the same values to continue it, or another --workdir to begin a new run"
        )
    return [f"{line}  ({rule.why})" for line, rule in changes]


def find_rule(key: str) -> Rule:
    """Return the rule for a dotted key: the first that names it or a section above it."""
    matching = (rule for rule in RULES if key == rule.key or key.startswith(f"{rule.key}."))
    return next(matching, REST)


def load_config(workdir: Path) -> ConfigDict:
    """Return the config of a run, upgraded to this version; raise ConfigError without any."""
    path = workdir / "config.json"
    if not path.exists():
        raise ConfigError(
            f"{workdir} holds no run (config.json is missing): give the --workdir of a training"
        )
    return upgrade(from_json(path.read_text(encoding="utf-8")))


def continuation_table() -> str:
    """Return which settings may change when a run continues, as a Markdown table for the docs."""
    rows = [
        f"| {f'`{rule.key}`' if rule is not REST else rule.key} | "
        f"{'yes' if rule.free else 'no'} | {rule.why} |"
        for rule in (*RULES, REST)
    ]
    head = ["| key | may change | because |", "|---|---|---|"]
    return "\n".join([*head, *rows])
