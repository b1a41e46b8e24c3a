"""A work directory of mae:tiny, with two checkpoints of weights that are not trained."""

import json

import jax
import numpy as np
import pytest

from maskmim.checkpoints.workdir import save_config
from maskmim.checkpoints.writer import Checkpoints
from maskmim.config.load import load as load_config
from maskmim.config.serialize import to_json
from maskmim.data.grocery import grocery
from maskmim.evals.run import OURS
from maskmim.evals.trained import Chosen
from maskmim.inference import load
from maskmim.training.build import build_method
from maskmim.types import State, random_key

STEPS = 3, 8


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    """Its second checkpoint has larger weights, so that attention differs from token to token."""
    folder = tmp_path_factory.mktemp("runs") / "mae"
    folder.mkdir()
    config = load_config("mae:tiny")
    params, extra = jax.jit(build_method(config)[1].init)(random_key(0))
    save_config(folder, config)
    checkpoints = Checkpoints(folder)
    for factor, step in enumerate(STEPS, start=1):
        larger = jax.tree.map(lambda leaf, factor=factor: leaf * factor, params)
        state = State(np.int32(step), larger, extra, (), np.int32(0))
        checkpoints.save(step, state, {}, to_json(config))
    checkpoints.close()
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
