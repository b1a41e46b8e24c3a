"""MLflow as a tracker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from maskmim.config.serialize import leaves
from maskmim.reporting.trackers.tracker import Identity, Tracker, import_tracker

# The tag that finds the run of a work directory, since the server chooses the ids of its runs.
TAG = "maskmim.id"
# Limits of the server, see "Log Batch" of MLflow's REST API.
MOST_PARAMETERS, MOST_TEXT = 100, 500


def mlflow(*, experiment: str = "maskmim", name: str = "", uri: str = "") -> Tracker:
    """Send metrics and pictures to MLflow; needs the extra maskmim[mlflow].

    name: of the run; '' for that of the work directory.
    uri:  of the server, or of a database as 'sqlite:///PATH'; '' for MLFLOW_TRACKING_URI, or
          MLflow's own default. Credentials come from MLflow's environment variables.
    Raises TrackerError where the library is missing.
    """
    library = import_tracker("mlflow")
    run = _Run(library)

    def start(config: ConfigDict, identity: Identity, resumed: bool) -> None:
        run.client = library.MlflowClient(tracking_uri=uri or None)
        where = experiment_id(run.client, experiment)
        tagged = f"tags.`{TAG}` = '{identity.id}'"
        if resumed and (found := run.client.search_runs([where], tagged)):
            run.id = found[0].info.run_id
            run.client.update_run(run.id, status="RUNNING")
            return
        made = run.client.create_run(where, run_name=name or identity.name, tags={TAG: identity.id})
        run.id = made.info.run_id
        run.log_config(config)

    return Tracker(start, run.write, run.close, run.image)


def experiment_id(client: Any, name: str) -> str:
    """Return the id of an experiment, which is made where there is none."""
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else client.create_experiment(name)


class _Run:
    """An open run of MLflow, through the client that keeps no state of the process."""

    def __init__(self, library: Any):
        self.client: Any = None
        self.id = ""
        self._entities = library.entities

    def log_config(self, config: ConfigDict) -> None:
        """Write every key of the config as a parameter."""
        parameters = [
            self._entities.Param(key, str(value)[:MOST_TEXT]) for key, value in leaves(config)
        ]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            part = parameters[start : start + MOST_PARAMETERS]
            self.client.log_batch(self.id, params=part)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add numbers to a step."""
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(key, value, now, step) for key, value in numbers.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """Add a picture to a step."""
        self.client.log_image(self.id, picture, key=name.replace("/", "-"), step=step)

    def close(self) -> None:
        """End this start of the run."""
        self.client.set_terminated(self.id)
