"""Tables whose missing cells a trained run predicts."""

from __future__ import annotations

import os

import jax
import numpy as np

from maskmim.checkpoints.load_run import load_trained
from maskmim.config.bricks import bind
from maskmim.data.pipeline import eval_batches
from maskmim.data.tables import TableRecords
from maskmim.inference.loaded import InferenceError
from maskmim.training.build import bind_evals
from maskmim.training.example_spec import RESERVED

BATCH_SIZE = 64


def complete_table(workdir: str | os.PathLike) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the table that a run was trained on without gaps: names of columns, f64[n, d].

    Observed cells are as they stand in the table; missing ones, and those that the source took
    away, are predicted from the observed cells of their row, in the table's units.
    Raises InferenceError for a run that imputes no cells.
    """
    run = load_trained(workdir)
    records = bind(run.config.data.train)()
    impute = run.method.net.calls.get("impute")
    if impute is None or not isinstance(records, TableRecords):
        raise InferenceError(f"{workdir} completes no table: give a run of configs/remasker.py")
    evals, program = bind_evals(run.config), jax.jit(impute)
    batches = eval_batches(
        records,
        spec=run.spec,
        batch_size=min(BATCH_SIZE, len(records)),
        decode=evals.decode,
        transform=evals.transform,
    )
    rows = []
    for batch in batches:
        arrays = {name: array for name, array in batch.items() if name not in RESERVED}
        rows.append(np.asarray(program(run.evaluated.params, arrays))[batch["valid"]])
    predicted = records.in_units(np.concatenate(rows))
    return records.columns, np.where(records.missing, predicted, records.observed)
