"""How well the missing cells of a table are predicted, where somebody knows what they held."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import PositiveInt
from maskmim.evals.features import Unsuitable
from maskmim.evals.held_out import valid_batches
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Source, Trained
from maskmim.training import sharding
from maskmim.types import Array, Batch, Variables


@facts.measure(needs=("test", "loss"))
def imputation(trained: Trained, *, rows: PositiveInt = 20_000) -> Iterator[Measured]:
    """Yield the error of predicted cells that were taken away, beside that of their columns' means.

    rows: at most so many of `evals.test`, spread evenly (20,000: ours).
    Yields 'imputation/rmse', the root mean squared error over all removed cells in units of the
    records (of each column's observed range), each predicted from all observed cells of its row;
    and 'imputation/rmse_of_means', of the mean of the column's observed values in its place.
    What the removed cells held is read from the source and never enters a batch.
    Raises Unsuitable for a network without the function 'impute', and for a source that has no
    `truth`, or knows no removed cell.
    """
    if "impute" not in trained.method.net.calls:
        raise Unsuitable("this network imputes no cells; maskmim.models.remasker.remasker does")
    truth = getattr(trained.test.records, "truth", None)
    if truth is None or np.isnan(truth).all():
        raise Unsuitable(
            "nobody knows what the missing cells of evals.test held: take some away, by "
            "evals.test.remove of maskmim.data.tables.csv"
        )
    places, imputed, shown = imputed_rows(trained, trained.test, rows)
    known = ~np.isnan(truth[places])
    means = np.broadcast_to(np.nanmean(shown, axis=0), shown.shape)
    for name, guess in (("rmse", imputed), ("rmse_of_means", means)):
        value = rmse(guess[known], truth[places][known])
        yield Measured(f"imputation/{name}", value, f"{value:.4f}")


def imputed_rows(
    trained: Trained, source: Source, rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return indices i64[n] of records, and them f32[n, d] with cells predicted and with NaN."""
    impute = trained.method.net.calls["impute"]

    def run(variables: Variables, batch: Batch) -> Array:
        return impute(variables.params, batch)

    program = jax.jit(run, out_shardings=sharding.replicated(trained.mesh))
    places, imputed, shown = [], [], []
    for batch in valid_batches(source.batches(rows), source.size):
        arrays = trained.on_devices(batch)
        imputed.append(np.asarray(program(trained.evaluated, arrays)))
        places.append(batch["record"])
        shown.append(np.where(batch["missing"], np.nan, batch[trained.spec.stream][..., 0]))
    return tuple(np.concatenate(each) for each in (places, imputed, shown))


def rmse(guess: np.ndarray, truth: np.ndarray) -> float:
    """Return the root of the mean squared difference, in float64."""
    return float(np.sqrt(np.mean((guess.astype(np.float64) - truth) ** 2)))
