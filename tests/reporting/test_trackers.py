"""Trackers get what the log gets, one run for all its starts, and can neither stop nor slow it."""

import sys
import threading
import time

import numpy as np
import pytest

from maskmim import errors
from maskmim.config import base, brick, from_json, override, to_json
from maskmim.config.bricks import BrickError
from maskmim.config.parse import ConfigError
from maskmim.config.upgrade import upgrade
from maskmim.reporting import trackers
from maskmim.reporting.metrics_log import Log, read_metrics
from maskmim.reporting.trackers import guarded
from maskmim.reporting.trackers.tracker import ID_FILE, Tracker, TrackerError
from maskmim.runtime import exits
from maskmim.train import main, train
from tests.golden.checkpoints.record import HERE as GOLDEN
from tests.reporting.fake_trackers import LIBRARIES, Server

PICTURE = np.zeros((4, 6, 3), np.uint8)


@pytest.fixture(params=sorted(LIBRARIES))
def library(request):
    return request.param


@pytest.fixture
def server(library, monkeypatch):
    found = Server()
    monkeypatch.setitem(sys.modules, library, LIBRARIES[library](found))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return found


def config_of(library, **keywords):
    config = base()
    config.log.trackers = {"mine": brick(getattr(trackers, library), **keywords)}
    return config


def begin(config, workdir, step):
    """What a start of a training does before its first step."""
    return trackers.make_trackers(config).start(config, workdir, anew=step == 0)


def log_steps(workdir, open_trackers, first, last):
    with Log(workdir, step=first, trackers=open_trackers) as log:
        for step in range(first + 1, last + 1):
            log.write(step, {"loss": 1.0 / step})
    return log


def losses(sent):
    return [(step, value["loss"]) for step, value in sent.metrics if "loss" in value]


def test_a_tracker_gets_what_the_log_gets(library, server, tmp_path, caplog):
    found = begin(config_of(library), tmp_path, 0)
    with found, Log(tmp_path, step=0, trackers=found) as log:
        log.write(1, {"loss": np.float32(0.5), "knn/fine/top1": 0.25})
        log.picture(1, "masks", PICTURE)
        log.write(2, {"loss": float("nan")})
    (sent,) = server.runs.values()
    assert tmp_path.name in sent.name
    numbers = [(step, *item) for step, values in sent.metrics for item in values.items()]
    assert numbers[:2] == [(1, "loss", 0.5), (1, "knn/fine/top1", 0.25)]
    assert numbers[2][:2] == (2, "loss") and np.isnan(numbers[2][2])
    assert [(step, shape) for step, _, shape in sent.pictures] == [(1, (4, 6, 3))]
    assert "masks" in sent.pictures[0][1] and len(sent.ends) == 1
    stored = sent.config
    assert (stored["mask.ratio"] if library == "mlflow" else stored["mask"]["ratio"]) in (
        0.75,
        "0.75",
    )
    assert found.failures == {"mine": 0} and not caplog.records


def test_a_killed_run_is_continued_under_its_id(library, server, tmp_path):
    killed = begin(config_of(library), tmp_path, 0)
    log_steps(tmp_path, killed, 0, 6)
    until(lambda: len(losses(next(iter(server.runs.values())))) == 6)
    with begin(config_of(library), tmp_path, 4) as again:  # of the checkpoint of step 4
        log_steps(tmp_path, again, 4, 8)
    (sent,) = server.runs.values()
    assert sent.starts == [False, True] and (tmp_path / ID_FILE).read_text().strip() in sent.id
    assert dict(losses(sent)) == {step: 1.0 / step for step in range(1, 9)}
    assert again.failures == {"mine": 0}


def until(true):
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_run_that_begins_anew_is_another_one(library, server, tmp_path):
    for _ in range(2):
        with begin(config_of(library), tmp_path, 0) as found:
            log_steps(tmp_path, found, 0, 1)
    assert [sent.starts for sent in server.runs.values()] == [[False], [False]]


@pytest.mark.parametrize("fails", [("start",), ("write",), ("image",), ("close",), "all"])
def test_no_failure_of_a_tracker_stops_a_run(library, server, fails, tmp_path, caplog):
    server.fails = ("start", "write", "image", "close") if fails == "all" else fails
    with begin(config_of(library), tmp_path, 0) as found:
        log = log_steps(tmp_path, found, 0, 3)
        found.picture(3, "masks", PICTURE)
        found.picture(3, "masks", PICTURE)
    # MLflow's config is a write too, and a start that fails is the only call.
    never_began = "start" in server.fails or (library == "mlflow" and "write" in server.fails)
    expected = 1 if never_began else {"write": 3, "image": 2, "close": 1}[fails[0]]
    assert found.failures == {"mine": expected} and log.failures == 0
    assert len(caplog.records) == (1 if expected == 1 else 2), caplog.text
    assert "the tracker mine" in caplog.messages[0] and "no answer to" in caplog.messages[0]
    assert "second line" not in caplog.text
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3


def test_a_library_that_is_missing_ends_a_training_before_it_begins(library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(TrackerError, match=rf"pip install {library}"):
        train(config_of(library), tmp_path, None, None)
    assert not list(tmp_path.iterdir())
    assert trackers.make_trackers(config_of(library), enabled=False).failures == {}


def test_a_library_that_is_broken_is_a_sentence(library, tmp_path, monkeypatch):
    (tmp_path / f"{library}.py").write_text("import nowhere_to_be_found")
    monkeypatch.delitem(sys.modules, library, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TrackerError, match=f"{library}, which cannot be imported .*nowhere"):
        trackers.make_trackers(config_of(library))


def test_wandb_without_a_key_says_what_to_do(monkeypatch):
    server = Server()
    server.fails = ("login",)
    monkeypatch.setitem(sys.modules, "wandb", LIBRARIES["wandb"](server))
    with pytest.raises(TrackerError, match=r"no key .*`wandb login`.*mode='offline'"):
        trackers.make_trackers(config_of("wandb", mode="online"))
    trackers.make_trackers(config_of("wandb", mode="offline"))


HANGS = threading.Event()


def hanging() -> Tracker:
    """A tracker whose server never answers a write."""
    return Tracker(lambda *_: None, lambda *_: HANGS.wait() and None, lambda: None)


def nothing() -> Tracker:
    return None


def test_a_tracker_that_hangs_holds_nothing_up(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(guarded, "CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(guarded, "MOST_WAITING", 20)
    config = base()
    config.log.trackers = {"slow": brick(hanging)}
    with begin(config, tmp_path, 0) as found:
        log_steps(tmp_path, found, 0, 40)
    HANGS.set()
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 40
    assert found.failures["slow"] in (20, 21)  # one call may be running
    assert "20 calls behind" in caplog.messages[0] and len(caplog.records) == 2


def test_a_work_directory_that_cannot_keep_the_id_costs_the_tracker_alone(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    config = base()
    config.log.trackers = {"mine": brick(hanging)}
    with begin(config, tmp_path / "file", 0) as found:
        found.write(1, {"loss": 1.0})
    assert found.failures == {"mine": 1} and "could not start" in caplog.text


def test_a_brick_that_returns_no_tracker_is_named():
    config = base()
    config.log.trackers = {"mine": brick(nothing)}
    with pytest.raises(BrickError, match=r"log\.trackers\.mine\.brick .* not a Tracker"):
        trackers.make_trackers(config)


WANDB = "log.trackers.w.brick=maskmim.reporting.trackers.wandb"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["log.trackers=wandb"], r"section, .*--config\.log\.trackers\.NAME\.brick=PATH"),
        (["log.trackers.w.project=x"], r"--config\.log\.trackers\.w\.brick=PATH adds w"),
        ([f"{WANDB}b"], r"did you mean maskmim\.reporting\.trackers\.wandb\?"),
        (["log.trackers.w.brick=maskmim.masks.uniform.random"], "expected a tracker"),
        ([WANDB, "log.trackers.w.projct=x"], r"did you mean 'log\.trackers\.w\.project'"),
        ([WANDB, "log.trackers.w.mode=x"], "expected '', 'online' or 'offline', got 'x'"),
    ],
)
def test_a_mistake_in_the_config_is_a_sentence(flags, words):
    with pytest.raises(ConfigError, match=words):
        override(base(), flags)


def test_flags_add_a_tracker():
    config = override(base(), [WANDB, "log.trackers.w.project=faces"])
    assert config.log.trackers.w.to_dict() == brick(trackers.wandb, project="faces").to_dict()
    assert to_json(upgrade(from_json(to_json(config)))) == to_json(config)


def test_configs_of_runs_without_trackers_get_none():
    config = upgrade(from_json((GOLDEN / "v0.1.0" / "config.json").read_text()))
    assert config.log.trackers.to_dict() == {}


@pytest.mark.full
def test_a_training_sends_all_and_continues_its_run(tmp_path, monkeypatch):
    server = Server()
    monkeypatch.setitem(sys.modules, "trackio", LIBRARIES["trackio"](server))
    flags = ["--config=mae:tiny", "--config.log.every_steps=1", f"--workdir={tmp_path}"]
    flags += ["--config.evals.monitors=", "--config.log.pictures_every_epochs=0"]
    flags += ["--config.log.trackers.t.brick=maskmim.reporting.trackers.trackio"]
    for epochs in (0.15, 0.25):
        found = exits.run(main, [*flags, f"--config.train.epochs={epochs}"])
        assert found == errors.DONE
    (sent,) = server.runs.values()
    assert sent.starts == [False, True] and len(sent.ends) == 2
    # NaN stands in metrics.jsonl as null.
    rows = [{"step": step, **values} for step, values in sent.metrics]
    assert rows == read_metrics(tmp_path / "metrics.jsonl")
    assert [step for step, name, _ in sent.pictures if name == "pictures/masks"] == [0]
