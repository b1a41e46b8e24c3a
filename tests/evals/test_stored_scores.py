"""Scores of baselines are found again for the same features and probe, and for nothing else."""

import functools
import json

import numpy as np
import pytest

from maskmim.evals import stored_scores
from maskmim.evals.features import Features, Split
from maskmim.evals.knn import knn
from maskmim.evals.stored_scores import cache_folder, stored_or
from maskmim.evals.suite import brick_protocol, run_probes
from tests.evals.test_features import batches_of

CLASSES = {"hue": ("red", "green", "blue")}
PROBE = functools.partial(knn, k=3)


def features_of(value=0.5, label=1):
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    train = Split(rows, {"hue": np.array([0, 1, 2, 0, 1, label], np.int32)})
    return Features.of(train, Split(rows + value, train.labels), CLASSES)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(stored_scores.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


class Counted:
    """A probe's work, and how often it was done."""

    calls = 0

    def __call__(self):
        self.calls += 1
        return {"knn/hue/top1": np.float32(self.calls)}


def stored_by(compute, features=None, probe=PROBE):
    return stored_or(compute, brick_protocol(probe), features or features_of())


def test_the_same_features_are_scored_once(folder):
    compute = Counted()
    assert stored_by(compute) == stored_by(compute) == {"knn/hue/top1": 1.0}
    assert compute.calls == 1
    (file,) = folder.rglob("*.json")
    assert json.loads(file.read_text()) == {"knn/hue/top1": 1.0}


@pytest.mark.parametrize(
    "other",
    [
        {"features": features_of(value=0.25)},
        {"features": features_of(label=2)},
        {"features": features_of()._replace(classes={"hue": ("red", "green", "violet")})},
        {"probe": functools.partial(knn, k=2)},
    ],
)
def test_anything_else_is_computed(folder, other):
    compute = Counted()
    stored_by(compute)
    assert stored_by(compute, **other) == {"knn/hue/top1": 2.0}


def test_other_code_and_other_settings_are_computed(folder, monkeypatch):
    compute = Counted()
    stored_by(compute)
    monkeypatch.setattr(stored_scores, "_code", lambda: "other")
    stored_by(compute)
    monkeypatch.setattr(stored_scores, "numerics", lambda: {"jax": "1.2.3"})
    stored_by(compute)
    monkeypatch.setattr(stored_scores.jax, "process_count", lambda: 2)
    stored_by(compute)
    stored_by(compute)
    assert compute.calls == 5


def test_a_damaged_file_is_written_again(folder):
    compute = Counted()
    stored_by(compute)
    (file,) = folder.rglob("*.json")
    file.write_text('{"knn/hue')
    assert stored_by(compute) == {"knn/hue/top1": 2.0} == stored_by(compute)


def test_a_folder_that_cannot_be_made_stores_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(stored_scores.VARIABLE, str(tmp_path / "file"))
    compute = Counted()
    stored_by(compute)
    stored_by(compute)
    assert compute.calls == 2


def test_probes_of_users_are_always_computed(folder):
    def theirs(features):
        yield "theirs/hue/top1", 0.5

    compute = Counted()
    stored_by(compute, probe=theirs)
    stored_by(compute, probe=theirs)
    assert compute.calls == 2


def test_where_the_folder_is(monkeypatch, tmp_path):
    monkeypatch.delenv(stored_scores.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "maskmim"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "maskmim"
    monkeypatch.setenv(stored_scores.VARIABLE, "")
    assert cache_folder() is None


def test_probes_store_the_baselines_and_not_the_run(folder):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (9, 4, 4, 3), np.uint8), {"hue": np.arange(9) % 3}
    batches = functools.partial(batches_of, images, labels, 3)
    encoders = {
        "mean": lambda arrays: arrays["image"].mean((1, 2)).astype(np.float32),
        "run": lambda arrays: arrays["image"].max((1, 2)).astype(np.float32),
    }
    first, again = (
        run_probes(encoders, batches, batches, CLASSES, {"knn": PROBE}, stored=("mean",))
        for _ in range(2)
    )
    assert len(list(folder.rglob("*.json"))) == 1
    assert first["encoders"] == again["encoders"] and len(first["encoders"]) == 2
