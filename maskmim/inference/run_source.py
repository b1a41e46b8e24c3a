"""A run of maskmim as a source: its work directory, or one of its checkpoints."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from maskmim.checkpoints.load_run import PARTS, TrainedRun, load_trained
from maskmim.checkpoints.reader import FOLDER, attach_shardings, stored_steps, try_restore
from maskmim.checkpoints.workdir import CONFIG, load_config
from maskmim.inference.loaded import InferenceError, Loaded, in_float32_on_cpu
from maskmim.training.build import build_method
from maskmim.types import Variables, random_key


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
    CheckpointError where none can be read, InferenceError for a step that is not kept.
    """
    trained = load_trained(workdir) if step is None else _load_step(workdir, step)
    config = in_float32_on_cpu(trained.config)
    spec, method = build_method(config)
    title = f"{workdir}, step {trained.step}"
    return Loaded(config, spec, method, trained.variables, title, trained.step, workdir)


def _load_step(workdir: Path, step: int) -> TrainedRun:
    """Return what `load_trained` does, of one of the checkpoints."""
    folder = workdir.absolute() / FOLDER
    kept = stored_steps(folder)
    if step not in kept:
        steps = ", ".join(map(str, kept)) or "none"
        raise InferenceError(f"{workdir} keeps no checkpoint {step}: it has {steps}")
    config = load_config(workdir)
    spec, method = build_method(config)
    shapes = dict(zip(PARTS, jax.eval_shape(method.init, random_key(config.seed)), strict=True))
    here = SingleDeviceSharding(jax.local_devices()[0])
    restored, problem = try_restore(
        folder, step, attach_shardings(shapes, jax.tree.map(lambda _: here, shapes))
    )
    if restored is None:
        others = ", ".join(str(other) for other in kept if other != step) or "none"
        raise InferenceError(
            f"checkpoint {step} of {workdir} cannot be read ({problem}): restore a copy, or take "
            f"another one ({others})"
        )
    params, extra = (jax.tree.map(np.asarray, restored.state[part]) for part in PARTS)
    variables = Variables(params, extra, ())
    return TrainedRun(config, spec, method, variables, step, restored.data)
