"""Scores of baselines, stored for the next evaluation of the same features.

Raw pixels and colours of some images have the same scores beside every run. A stored score is found
by all that decides it: the features and labels themselves, the probe and its hyperparameters, the
code of the package, jax, optax and the device. So nothing stale is found, whatever has changed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import optax

from maskmim import files
from maskmim.checkpoints.continuation import digest_arrays, numerics
from maskmim.evals.features import Features
from maskmim.runtime.programs import processor

# The environment variable that names the folder; empty to store nothing.
VARIABLE = "MASKMIM_CACHE"


def stored_or(
    compute: Callable[[], dict[str, float]], protocol: Mapping[str, Any], features: Features
) -> dict[str, float]:
    """Return the stored scores of a probe on some features, else compute and store them.

    protocol: the probe with its hyperparameters, as `suite.brick_protocol`.
    Scores of a brick that is not ours are always computed, and so are those of several processes
    and of one without a folder to write to.
    """
    folder = cache_folder()
    if folder is None or jax.process_count() > 1 or not protocol["brick"].startswith("maskmim."):
        return compute()
    path = folder / "scores" / f"{_key(protocol, features)}.json"
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    scores = {name: float(value) for name, value in compute().items()}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, json.dumps(scores))
    return scores


def cache_folder() -> Path | None:
    """Return the folder of what this user's runs share; None where MASKMIM_CACHE is empty."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return Path(given).expanduser() if given else None
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "maskmim"


def _key(protocol: Mapping[str, Any], features: Features) -> str:
    """Return a digest of all that decides the scores."""
    classes = {name: list(names) for name, names in features.classes.items()}
    arrays = {
        name: {"features": split.features, **{f"labels/{s}": v for s, v in split.labels.items()}}
        for name, split in (("train", features.train), ("test", features.test))
    }
    software = [numerics(), optax.__version__, processor(), _code()]
    said = [protocol, classes, software, digest_arrays(arrays)]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@functools.cache
def _code() -> str:
    """Return a digest of the Python files of the package."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
