"""How near predicted embeddings of a sequence are to the true ones, beside simple guesses."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import PositiveInt
from maskmim.evals.held_out import valid_batches
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained
from maskmim.models.layers.heads import head_output
from maskmim.training import sharding
from maskmim.types import Array, Batch, Randomness, Variables


@facts.measure(needs=("test", "loss"))
def embedding_errors(
    trained: Trained, *, head: str = "embeddings", sequences: PositiveInt = 512
) -> Iterator[Measured]:
    """Yield cosines of hidden embeddings with predicted ones, copied and interpolated ones.

    head:      name of the head that predicts them.
    sequences: at most so many of `evals.test`, spread evenly (512: ours).
    Yields means over hidden embeddings that are no padding: 'embeddings/cosine' of the prediction,
    '.../cosine_of_copy' of the nearest visible embedding (of two the earlier), and
    '.../cosine_of_line' of the straight line between the visible ones around; and
    'embeddings/found', the share of predictions that are nearer to their own embedding than to any
    other hidden one of the sequence. Masks depend on the sequence's index alone.
    """
    method, net = trained.method, trained.method.net

    def run(variables: Variables, arrays: Batch, randomness: Randomness) -> tuple[Array, ...]:
        made = method.apply["mask"](variables, arrays, randomness)
        mask, inputs = made["mask"], made["inputs"]
        encoded = net.encode(variables.params, inputs, mask)
        predicted = head_output(net.predict(variables.params, encoded, mask), head)
        seen = ~jnp.take_along_axis(mask.hidden, mask.visible, axis=1)
        return net.patchify(inputs), predicted, mask.predict, mask.weight > 0, mask.visible, seen

    program = jax.jit(run, out_shardings=sharding.replicated(trained.mesh))
    sums = np.zeros(5)
    for batch in valid_batches(trained.test.batches(sequences), trained.test.size):
        randomness = trained.randomness(batch["record"])
        found = program(trained.evaluated, trained.on_devices(batch), randomness)
        for example in zip(*map(np.asarray, found), strict=True):
            sums += sums_of_sequence(*example)
    names = ("cosine", "cosine_of_copy", "cosine_of_line", "found")
    for name, total in zip(names, sums[:-1], strict=True):
        value = float(total / max(sums[-1], 1.0))
        yield Measured(f"embeddings/{name}", value, f"{value:.3f}")


def sums_of_sequence(
    embeddings: np.ndarray,
    predicted: np.ndarray,
    places: np.ndarray,
    counted: np.ndarray,
    visible: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Return sums over the hidden embeddings of a sequence: three cosines, found ones, how many.

    embeddings: f32[N, D]. predicted: f32[P, D] at places i32[P], of which those in counted bool[P]
    are no padding. visible: i32[K], ascending, of which those in seen bool[K] are no padding.
    """
    places, predicted, known = places[counted], unit(predicted[counted]), visible[seen]
    if not len(places) or not len(known):
        return np.zeros(5)
    true, units = unit(embeddings[places]), unit(embeddings)
    copy = units[known[np.abs(places[:, None] - known).argmin(axis=1)]]
    line = np.stack([np.interp(places, known, column[known]) for column in units.T], axis=1)
    cosines = [np.sum(guess * true) for guess in (predicted, copy, unit(line))]
    nearest = (predicted @ true.T).argmax(axis=1)
    found = np.sum(nearest == np.arange(len(places)))
    return np.array([*cosines, found, len(places)], np.float64)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors [n, D] to length 1, f64."""
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
