"""Stand-ins for wandb, trackio and mlflow that keep what their servers would be told."""

from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import numpy as np


class Sent(NamedTuple):
    """What a server knows of a run after all its starts.

    metrics: (step, {name: value}) in the order of arrival. pictures: (step, name, shape).
    """

    id: str
    name: str
    config: dict
    metrics: list
    pictures: list
    starts: list
    ends: list


class Server:
    """A server: runs by id, and what `fails` names raises."""

    def __init__(self):
        self.runs: dict[str, Sent] = {}
        self.fails = ()

    def call(self, name):
        if name in self.fails:
            raise RuntimeError(f"no answer to {name}\nand a second line")

    def open(self, id, name, config, resumed):
        self.call("start")
        assert resumed == (id in self.runs), (id, resumed, list(self.runs))
        run = self.runs.setdefault(id, Sent(id, name, config, [], [], [], []))
        run.starts.append(resumed)
        return run

    def add(self, run, step, values):
        pictures = {name: value for name, value in values.items() if hasattr(value, "picture")}
        self.call("image" if pictures else "write")
        for name, value in pictures.items():
            run.pictures.append((step, name, value.picture.shape))
        if numbers := {name: value for name, value in values.items() if name not in pictures}:
            run.metrics.append((step, numbers))

    def close(self, run):
        self.call("close")
        run.ends.append(True)


def image(picture):
    assert isinstance(picture, np.ndarray) and picture.dtype == np.uint8
    return SimpleNamespace(picture=picture)


class History:
    """An open run of wandb: its history takes steps that do not descend."""

    def __init__(self, server, run):
        self._server, self._run = server, run
        self.summary = {}

    @property
    def step(self):
        return self._run.metrics[-1][0] if self._run.metrics else 0

    def log(self, values, step):
        assert step >= self.step, "wandb leaves out what is older than its history"
        self._server.add(self._run, step, values)

    def finish(self):
        self._server.close(self._run)


def wandb(server):
    module = ModuleType("wandb")
    module.Settings, module.Image = dict, image
    module.login = lambda verify: server.call("login")

    def init(*, id, name, config, resume, project, dir, mode, entity, group, tags, settings):
        assert settings == {"console": "off", "quiet": True} and resume in ("allow", None)
        return History(server, server.open(id, name, config, resume == "allow"))

    module.init = init
    return module


def trackio(server):
    module = ModuleType("trackio")
    module.Image = image

    def init(*, project, name, group, space_id, config, resume, embed):
        run = server.open(name, name, config, {"allow": True, "never": False}[resume])
        return SimpleNamespace(
            log=lambda values, step: server.add(run, step, values),
            finish=lambda: server.close(run),
        )

    module.init = init
    return module


class Client:
    """A client of MLflow, which knows runs by ids of its own and finds them by their tags."""

    def __init__(self, server):
        self.server = server

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        self.server.call("start")
        return "7"

    def search_runs(self, experiments, text):
        (found,) = [run for run in self.server.runs.values() if f"= '{run.id}'" in text]
        return [SimpleNamespace(info=SimpleNamespace(run_id=found.id))]

    def update_run(self, run_id, status):
        assert status == "RUNNING"
        self.server.open(run_id, "", {}, True)

    def create_run(self, experiment, run_name, tags):
        assert experiment == "7"
        self.server.open(tags["maskmim.id"], run_name, {}, False)
        return SimpleNamespace(info=SimpleNamespace(run_id=tags["maskmim.id"]))

    def log_batch(self, run_id, metrics=(), params=()):
        assert len(params) <= 100
        run = self.server.runs[run_id]
        run.config.update(params)
        for key, value, _, step in metrics:
            self.server.add(run, step, {key: value})
        self.server.call("write")

    def log_image(self, run_id, picture, key, step):
        self.server.add(self.server.runs[run_id], step, {key: image(picture)})

    def set_terminated(self, run_id):
        self.server.close(self.server.runs[run_id])


def mlflow(server):
    module = ModuleType("mlflow")
    module.MlflowClient = lambda tracking_uri: Client(server)
    module.entities = SimpleNamespace(
        Param=lambda key, value: (key, value),
        Metric=lambda key, value, time, step: (key, value, time, step),
    )
    return module


LIBRARIES = {"wandb": wandb, "trackio": trackio, "mlflow": mlflow}
