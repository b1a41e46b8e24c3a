"""Training from labels and from text by the command: what the batch has, what plan counts."""

import json
import re

import jax
import numpy as np
import pytest

from maskmim import errors
from maskmim.checkpoints.load_run import load_trained
from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.planning.cost import batch_shapes
from maskmim.runtime import exits
from maskmim.train import main
from maskmim.train_loop import open_batches, place_on_mesh
from maskmim.training.build import assemble, jitted_step
from tests.running import ROOT

pytestmark = pytest.mark.full

SUPERVISED = """
from maskmim.config import base, brick
from maskmim.masks import roles
from maskmim.models import classifiers, encoder_only
from maskmim.objectives import label


def get_config():
    config = base()
    config.input.size = (16, 16)
    config.input.labels = {"coarse": 43}
    config.model = brick(encoder_only.vit_encoder, variant="1x16x2", patch=(8, 8))
    config.mask = brick(roles.everything)
    config.calls = {"classify": brick(classifiers.linear, classes=43)}
    config.objectives = {"label": brick(label, labels="coarse")}
    config.train.batch_size = 32
    config.train.epochs = 0.05
    config.schedule.warmup_epochs = 0.0
    config.evals.test.split = "val"
    config.evals.at_end = ()
    config.log.pictures_every_epochs = 0.0
    return config
"""

TEXT = """
from maskmim.config import base, brick
from maskmim.data import passages
from maskmim.masks import roles, uniform
from maskmim.modalities import unseen
from maskmim.models import text_net
from maskmim.objectives import classify
from maskmim.targets import tokens


def get_config():
    config = base()
    config.input.update({"size": (16,), "channels": 1, "stream": "text", "classes": 256})
    config.input.kind = brick(unseen)
    config.model = brick(text_net.text_in_place, variant="1x16x2")
    config.mask = brick(roles.in_place, sampler=brick(uniform.random, ratio=0.25))
    config.objectives = {"tokens": brick(classify, head="tokens", target=brick(tokens.tokens))}
    config.data.train = brick(passages.passages, split="train")
    config.data.decode = brick(passages.as_indices)
    config.data.augment = brick(passages.random_window)
    config.evals.train = config.evals.test = config.evals.decode = None
    config.evals.transform = brick(passages.first_window)
    config.evals.at_end = ()
    config.train.batch_size = 32
    config.train.epochs = 0.15
    config.schedule.warmup_epochs = 0.0
    return config
"""


def config_file(folder, text):
    path = folder / "own.py"
    path.write_text(text)
    return path


def train(path, workdir, *flags):
    return exits.run(main, [f"--config={path}", *flags, f"--workdir={workdir}"])


def test_labels_enter_the_batch_as_plan_counts_them(tmp_path, monkeypatch):
    """The batch of the pipeline has the shapes that `plan` lowers: the programs are the same."""
    monkeypatch.chdir(ROOT)
    config = load(str(config_file(tmp_path, SUPERVISED)))
    parts = assemble(config, 2936)
    batch = next(iter(open_batches(config, parts, bind(config.data.train)(), 0)))
    given = place_on_mesh(batch, parts)
    planned = batch_shapes(config, config.train.batch_size)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), given) == jax.tree.map(
        lambda x: (x.shape, x.dtype), planned
    )
    assert set(given["label"]) == {"coarse"} and given["label"]["coarse"].max() < 43
    step = jitted_step(config, parts)
    flops = [
        step.lower(parts.shapes, parts.frozen_shapes, each).cost_analysis()["flops"]
        for each in (planned, given)
    ]
    assert flops[0] == flops[1] > 1e6


def test_a_supervised_run_with_averaged_weights_ends_with_its_accuracy(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    path, workdir = config_file(tmp_path, SUPERVISED), tmp_path / "run"
    ema = "--config.ema.brick=maskmim.teachers.momentum.constant", "--config.ema.value=0.5"
    assert train(path, workdir, *ema) == errors.DONE
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if "loss" in row]
    assert 0 <= rows[-1]["label/accuracy"] <= 1 and rows[-1]["loss"] < 6
    run = load_trained(workdir)
    assert set(run.variables.extra) == {"average", "method"}
    jax.tree.map(
        np.testing.assert_array_equal, run.evaluated.params, run.variables.extra["average"]
    )
    leaves = zip(*map(jax.tree.leaves, (run.evaluated.params, run.variables.params)), strict=True)
    assert any(not np.array_equal(average, trained) for average, trained in leaves)


def test_an_average_cannot_be_added_to_a_run_that_has_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    path, workdir = config_file(tmp_path, TEXT), tmp_path / "run"
    assert train(path, workdir) == errors.DONE
    assert not load_trained(workdir).variables.extra
    ema = "--config.ema.brick=maskmim.teachers.momentum.constant", "--config.ema.value=0.5"
    assert train(path, workdir, *ema) == errors.USAGE
    said = re.sub(r"\s+", " ", capsys.readouterr().err)
    assert "ema.value" in said and "the average begins with the run" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--config.input.labels.coarse=40",), "set input.labels.coarse=43"),
        (("--config.objectives.label.labels=fine",), "input.labels has coarse (43 classes)"),
        (("--config.calls.classify.classes=7",), "set calls.classify.classes=43"),
        (("--config.model.class_token=False", "--config.objectives.label.pooling=class"), "token"),
    ],
)
def test_what_does_not_fit_ends_before_the_first_step(tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(ROOT)
    path = config_file(tmp_path, SUPERVISED)
    assert train(path, tmp_path / "run", *flags) == errors.USAGE
    assert words in re.sub(r"\s+", " ", capsys.readouterr().err)
