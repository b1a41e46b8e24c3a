"""The work directory of a run: its config, and which settings may change when it continues."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from maskmim.checkpoints.reader import newest_config
from maskmim.config.parse import ConfigError
from maskmim.config.serialize import differences, from_json, leaves, to_json
from maskmim.config.upgrade import upgrade
from maskmim.files import set_aside, write_atomic

log = logging.getLogger("maskmim")

CONFIG = "config.json"


class Rule(NamedTuple):
    """Whether a key, or a section with all its keys, may change when a run continues, and why."""

    key: str
    free: bool
    why: str


# Last parts of keys that say where something lies.
PLACES = ("path", "workdir", "data_dir", "root", "folder", "directory", "file")

# The first rule that matches a key counts; `section.*.path` are the keys of PLACES in a section,
# `section.*.key` that key of every entry of a section.
RULES = (
    Rule(
        "train.epochs",
        True,
        "the schedule is that of the new length from the next step on; a length that is already "
        "passed ends the run where it is",
    ),
    Rule(
        "train.micro_batches",
        True,
        "the gradient is the same, up to the order of sums, but of losses that compare examples",
    ),
    Rule("train.batch_size", False, "steps and the place in the data are counted in batches"),
    Rule("train.max_bad_steps", True, "a limit, which changes no update"),
    Rule("mesh", True, "any mesh reads what another wrote"),
    Rule("checkpoint", True, "it changes what is kept, not what is learnt"),
    Rule("log", True, "it changes what is written, not what is learnt"),
    Rule("compare", True, "further runs, which change nothing of this one"),
    Rule("evals", True, "it changes what is measured, not what is learnt"),
    Rule("process", True, "limits and stored programs change nothing that is learnt"),
    Rule("input.kind", True, "it changes what is shown, not what is learnt"),
    Rule("input.streams.*.kind", True, "it changes what is shown, not what is learnt"),
    Rule("data.workers", True, "batches do not depend on who reads them"),
    Rule("data.threads", True, "batches do not depend on who reads them"),
    Rule("data.max_bad_share", True, "a limit, which changes no batch"),
    Rule(
        "data.train.*.path",
        True,
        "the fingerprint and the sample of the examples must be the same, wherever they lie; so "
        "for workdir, data_dir and other names of places",
    ),
    Rule(
        "teachers.*.path",
        True,
        "the weights that are read must be the same, wherever they lie; so for workdir",
    ),
    Rule("tokenizer.*.path", True, "as of teachers"),
    Rule(
        "begin",
        False,
        "a run begins once: its checkpoints hold what it took, and the source is not read again",
    ),
    Rule("ema", False, "the average begins with the run, and the checkpoints hold it as it was"),
    Rule("data", False, "the examples left of this epoch would be others"),
    Rule("seed", False, "order, augmentation and masks are drawn from it"),
    Rule("input", False, "the stored network has the shapes of the old input"),
    Rule("model", False, "the stored parameters are those of the old network"),
    Rule("optim", False, "the results would be those of neither setting"),
    Rule("schedule", False, "the results would be those of neither schedule"),
    Rule("mask", False, "the results would be those of neither mask"),
)
WEIGHTS = tuple(rule for rule in RULES if rule.key in ("teachers.*.path", "tokenizer.*.path"))
REST = Rule("anything else", False, "it changes what is learnt")


def check_config(workdir: Path, config: ConfigDict) -> list[str]:
    """Return the changes since the config in the work directory, a line for each key.

    Raises ConfigError with those that would change the results of the run.
    """
    path = workdir / CONFIG
    return check_changes(load_config(workdir), config, workdir) if path.exists() else []


def save_config(workdir: Path, config: ConfigDict) -> None:
    """Write config.json."""
    write_atomic(workdir / CONFIG, to_json(config))


def check_changes(old: ConfigDict, new: ConfigDict, workdir: Path) -> list[str]:
    """Return what `new` changes, a line for each key; raise ConfigError for forbidden changes."""
    changes = [(line, find_rule(line.partition(":")[0])) for line in differences(old, new)]
    forbidden = [f"{line}  ({rule.why})" for line, rule in changes if not rule.free]
    if forbidden:
        listed = "\n  ".join(forbidden)
        raise ConfigError(
            f"{workdir} holds a run with another config:\n  {listed}\n"
            "Use the same values to continue it, or another --workdir to begin a new run"
            f"{_longer(old, new)}"
        )
    return [f"{line}  ({rule.why})" for line, rule in changes]


def _longer(old: ConfigDict, new: ConfigDict) -> str:
    """Return how to change the length alone, where it changes together with what may not."""
    if old.train.epochs == new.train.epochs:
        return ""
    return (
        "\nTo change only its length, give the config of the run as it was, with "
        f"--config.train.epochs={new.train.epochs:g}"
    )


def find_rule(key: str) -> Rule:
    """Return the rule for a dotted key: the first that names it or a section above it."""
    return next((rule for rule in RULES if _matches(key, rule.key)), REST)


def _matches(key: str, pattern: str) -> bool:
    section, star, last = pattern.partition(".*.")
    is_inside = key.startswith(f"{section}.")
    if not star:
        return is_inside or key == section
    if last == "path":
        return is_inside and key.rpartition(".")[2] in PLACES
    inner = key.removeprefix(f"{section}.").partition(".")[2]
    return is_inside and f"{inner}.".startswith(f"{last}.")


def weights_places(config: ConfigDict) -> list[str]:
    """Return the keys of a config that say where weights of others lie."""
    sections = [rule.key.partition(".*.")[0] for rule in WEIGHTS]
    return [
        key
        for key, _ in leaves(config)
        if key.rpartition(".")[2] in PLACES and key.partition(".")[0] in sections
    ]


def set_earlier_run_aside(workdir: Path) -> list[str]:
    """Give the files of a run that is begun anew other names; return these.

    Nothing is renamed where that run has logged no step and has no results.
    """
    log = workdir / "metrics.jsonl"
    if not (log.exists() and log.stat().st_size) and not (workdir / "results.json").exists():
        return []
    patterns = rf"({CONFIG}|events|images|(metrics|bad_steps(-\d+)?)\.jsonl|bad_files(-\d+)?\.txt"
    patterns += r"|results(-[^.]*)?\.json)"
    found = [path for path in workdir.iterdir() if re.fullmatch(patterns, path.name)]
    return [path.name for path in set_aside(found)]


def load_config(workdir: Path) -> ConfigDict:
    """Return the config of a run, upgraded to this version.

    Where config.json is lost, damaged or of another program, that of the newest checkpoint is read,
    with a warning. Raises ConfigError without any.
    """
    path = Path(workdir) / CONFIG
    try:
        config = from_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        what = "lost"
        problem = f"{workdir} holds no run ({CONFIG} is missing): give the --workdir of a training"
    except (ConfigError, UnicodeDecodeError) as error:
        what, problem = "damaged", f"{path} is damaged ({error}): restore a copy"
    else:
        if "method" in config:
            return upgrade(config)
        what = "of another program"
        problem = (
            f"{workdir} is no run of maskmim: its {CONFIG} names no method. To begin from weights "
            f"of transformers use --config.begin.file={workdir}"
        )
    text = newest_config(workdir)
    if not text:
        raise ConfigError(problem)
    log.warning("%s is %s: read from the newest checkpoint", path, what)
    return upgrade(from_json(text))


def continuation_table() -> str:
    """Return which settings may change when a run continues, as a Markdown table for the docs."""
    rows = [
        f"| {f'`{rule.key}`' if rule is not REST else rule.key} | "
        f"{'yes' if rule.free else 'no'} | {rule.why} |"
        for rule in (*RULES, REST)
    ]
    head = ["| key | may change | because |", "|---|---|---|"]
    return "\n".join([*head, *rows])
