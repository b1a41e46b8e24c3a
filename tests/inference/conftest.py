"""A work directory of mae:tiny, with two checkpoints of weights that are not trained."""

import json

import numpy as np
import pytest

from maskmim.data.grocery import grocery
from maskmim.evals.run import OURS
from maskmim.evals.trained import Chosen
from maskmim.inference import load
from tests.stored import store_run

STEPS = 3, 8


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    """Its second checkpoint has larger weights, so that attention differs from token to token."""
    folder = store_run(tmp_path_factory.mktemp("runs") / "mae", "mae:tiny", STEPS)
    probes = {
        "encoders": {OURS: {"dimensions": 32, "metrics": {"knn/fine/top1": 0.25}}},
        "protocol": {"classes": {"fine": 81}, "test_images": 9, "train_images": 9},
        "skipped": {},
    }
    results = {"step": 8, "images_seen": 128, "probes": probes}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture(scope="session")
def model(workdir):
    return load(workdir, batch_size=4)


@pytest.fixture(scope="session")
def photographs():
    """Seven embedded photographs, two batches of the model, as a data source."""
    return Chosen(grocery(split="val"), np.arange(0, 280, 40))


@pytest.fixture(scope="session")
def features(model, photographs):
    return model.encode(photographs)
