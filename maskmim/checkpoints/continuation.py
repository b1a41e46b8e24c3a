"""What a checkpoint records beside its arrays, and what must be the same when a run continues."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from maskmim.checkpoints.reader import Restored
from maskmim.checkpoints.workdir import (
    CONFIG,
    WEIGHTS,
    find_rule,
    load_config,
    weights_places,
)
from maskmim.config.parse import ConfigError
from maskmim.config.serialize import differences, from_json
from maskmim.config.upgrade import upgrade
from maskmim.data.records import DataError, Records, content_sample
from maskmim.runtime.environment import drawing, rounding
from maskmim.tree_paths import named_leaves
from maskmim.types import Tree

# What a run that began from weights records of them, see `interop.initial_weights`.
BEGAN = "began"


def origin(
    config: ConfigDict,
    records: Records,
    frozen: Tree,
    *,
    began: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what every checkpoint of a run records: its data, weights of others, and environment.

    'weights' is there where the config names a place that they are read from, 'began' where the run
    began from weights; it is the record of these, the same in all its checkpoints.
    """
    weights = {"weights": digest_arrays(frozen)} if weights_places(config) else {}
    return {
        "fingerprint": records.fingerprint,
        "examples": len(records),
        "sample": content_sample(records),
        **weights,
        **({} if began is None else {BEGAN: dict(began)}),
        "drawing": drawing(),
        "rounding": numerics(),
    }


def numerics() -> dict[str, str]:
    """Return what rounds results: software, processor, flags, settings of jax; text by name."""
    device = jax.local_devices()[0]
    return {
        "jax": jax.__version__,
        "device": f"{device.platform} {device.device_kind}",
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        **rounding(),
    }


def digest_arrays(tree: Tree) -> str:
    """Return the hex sha256 of the names, types, shapes and values of all arrays of a tree."""
    digest = hashlib.sha256()
    for name, leaf in named_leaves(tree):
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def check_config_of(restored: Restored, config: ConfigDict, workdir: Path) -> None:
    """Raise ConfigError where a checkpoint was saved with a config that this run may not have.

    How a network is computed (`model.compute`) does not tell one run from another.
    """
    if not restored.config:
        return
    stored = upgrade(from_json(restored.config))
    lines = [line for line in differences(stored, config) if _is_of_another_run(line)]
    if lines:
        listed = "\n  ".join(lines)
        raise ConfigError(
            f"checkpoint {restored.step} in {workdir} belongs to another run, whose config was "
            f"another:\n  {listed}\nRemove it from {Path(workdir) / 'checkpoints'}, or use the "
            "--workdir of its own run"
        )


def _is_of_another_run(line: str) -> bool:
    key = line.partition(":")[0]
    return not find_rule(key).free and ".compute." not in key


def moved_weights(workdir: Path, config: ConfigDict) -> list[str]:
    """Return how the places of weights differ from those in config.json, a line for each."""
    if not (workdir / CONFIG).exists():
        return []
    changes = differences(load_config(workdir), config)
    return [line for line in changes if find_rule(line.partition(":")[0]) in WEIGHTS]


def check_origin(
    stored: Mapping[str, Any], now: Mapping[str, Any], workdir: Path, *, moved: list[str]
) -> list[str]:
    """Return sentences about what rounds otherwise than when a checkpoint was saved.

    stored: data of a checkpoint; what it lacks, as one of an earlier version may, is not compared.
    now:    the `origin` of this start. moved: see `moved_weights`.
    Raises DataError for other data, ConfigError for other weights or another random generator.
    """
    _check_data(stored, now, workdir)
    if (
        "weights" in now
        and stored.get("weights", "" if moved else now["weights"]) != now["weights"]
    ):
        listed = "".join(f"\n  {line}" for line in moved)
        known = (
            "was trained with other weights of its teachers or tokenizer than are read now"
            if "weights" in stored
            else "began in a version that did not record the weights of teachers or tokenizers"
        )
        raise ConfigError(
            f"{workdir} {known}{':' if moved else ''}{listed}\nGive the files that it began with, "
            "or begin a new run in another --workdir"
        )
    if differing := _differences(stored.get("drawing", {}), now["drawing"]):
        listed = ", ".join(f"{name.upper()}: {old} -> {new}" for name, old, new in differing)
        raise ConfigError(
            f"{workdir} drew its random numbers in another way ({listed}): set these as they were"
        )
    return [
        f"{name}: {old or 'none'} -> {new or 'none'}: from here on results are not equal to the "
        "bit to those without this change"
        for name, old, new in _differences(stored.get("rounding", {}), now["rounding"])
    ]


def _check_data(stored: Mapping[str, Any], now: Mapping[str, Any], workdir: Path) -> None:
    other, compared = _other_content(stored.get("sample", ()), now.get("sample", ()))
    if stored.get("fingerprint", now["fingerprint"]) != now["fingerprint"]:
        count = (
            f"{stored['examples']:,} other examples; now there are {now['examples']:,}"
            if stored["examples"] != now["examples"]
            else f"other examples than now, {now['examples']:,} with other names or sizes"
        )
    elif other:
        count = (
            f"other examples than now: names and sizes are the same, and {other} of {compared} "
            "files that were compared have other content"
        )
    else:
        return
    raise DataError(
        f"{workdir} was trained on {count}: restore the data, or begin a new run in another "
        "--workdir"
    )


def _other_content(stored: Sequence[str], now: Sequence[str]) -> tuple[int, int]:
    """Return how many digests of two samples differ, and how many both samples have."""
    pairs = [pair for pair in zip(stored, now, strict=False) if all(pair)]
    return sum(old != new for old, new in pairs), len(pairs)


def _differences(stored: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [
        (name, stored[name], now[name]) for name in now if stored.get(name, now[name]) != now[name]
    ]
