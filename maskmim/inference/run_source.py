"""A run of maskmim as a source: its work directory, or one of its checkpoints."""

from __future__ import annotations

from pathlib import Path

from maskmim.checkpoints.load_run import load_trained
from maskmim.checkpoints.reader import FOLDER
from maskmim.checkpoints.workdir import CONFIG
from maskmim.inference.loaded import Loaded, in_float32_on_cpu
from maskmim.training.build import build_method


def run_of(path: Path) -> tuple[Path, int | None] | None:
    """Return the work directory that a folder is, or is a checkpoint of, and the step of that.

    None for the step of a work directory; None for a folder that is neither.
    """
    if path.parent.name == FOLDER and path.name.isdigit():
        return path.parent.parent, int(path.name)
    if path.name == FOLDER and (path.parent / CONFIG).is_file():
        return path.parent, None
    is_run = (path / FOLDER).is_dir() or (path / "metrics.jsonl").is_file()
    return (path, None) if is_run else None


def of_run(workdir: Path, step: int | None = None) -> Loaded:
    """Return a run's method with the weights of a step; None for the newest.

    Changes nothing in the folder. Raises ConfigError where it holds no run or no checkpoint,
    CheckpointError where none can be read, or not that of the step.
    """
    trained = load_trained(workdir, step)
    config = in_float32_on_cpu(trained.config)
    spec, method = build_method(config)
    title = f"{workdir}, step {trained.step}"
    return Loaded(config, spec, method, trained.variables, title, trained.step, workdir)
