"""Work directories as trainings leave them, without a training."""

import json

from maskmim.config import base, override, to_json

EXAMPLES = 296


def write_run(
    workdir,
    *,
    flags=(),
    losses=(1.0, 0.5),
    every=10,
    during=None,
    results=None,
    checkpoint=None,
):
    """Write the files of a run that logged `losses` every so many steps; return the folder.

    during: {metric: value} of an evaluation at the last step. results: content of results.json.
    checkpoint: the step of one.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    config = override(base(), ["train.batch_size=16", "train.epochs=2", *flags])
    (workdir / "config.json").write_text(to_json(config))
    rows = [
        {"step": every * (index + 1), "loss": loss, "grad_norm": 0.25, "lr": 0.1}
        for index, loss in enumerate(losses)
    ]
    if during is not None:
        rows.append({"step": rows[-1]["step"], **during})
    (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    if results is not None:
        (workdir / "results.json").write_text(json.dumps(results))
    if checkpoint is not None:
        folder = workdir / "checkpoints" / str(checkpoint) / "data"
        folder.mkdir(parents=True)
        (folder / "metadata").write_text(json.dumps({"examples": EXAMPLES}))
    return workdir


def results_at(step, **changes):
    """The content of a results.json of a step."""
    ours = {"knn/fine/top1": 0.5, "linear_probe/fine/top1": 0.625}
    encoders = {"raw pixels": {"knn/fine/top1": 0.1}, "this encoder": ours}
    return {
        "step": step,
        "reconstruction": {"reconstruction/mse": 0.25, "reconstruction/psnr": None},
        "probes": {"encoders": {name: {"metrics": each} for name, each in encoders.items()}},
        "measures": {"metrics": {"effective_rank": 12.0}},
        **changes,
    }
