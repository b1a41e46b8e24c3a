"""Trackers: services that get a run's metrics beside metrics.jsonl and TensorBoard.

A tracker is a brick: `config.log.trackers = {"wandb": brick(trackers.wandb, project="faces")}`.
The files of the work directory stay the truth: a tracker that fails never stops a run.
"""

from maskmim.reporting.trackers.guarded import Trackers, make_trackers
from maskmim.reporting.trackers.mlflow_runs import mlflow
from maskmim.reporting.trackers.tracker import Identity, Tracker, import_tracker
from maskmim.reporting.trackers.trackio_runs import trackio
from maskmim.reporting.trackers.wandb_runs import wandb

__all__ = [
    "Identity",
    "Tracker",
    "Trackers",
    "import_tracker",
    "make_trackers",
    "mlflow",
    "trackio",
    "wandb",
]
