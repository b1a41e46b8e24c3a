"""The patch tokens of labelled images: kept in memory where they fit, else encoded when read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from maskmim.evals.captured import traced
from maskmim.evals.features import FeatureError
from maskmim.evals.trained import Source, Trained
from maskmim.runtime import activity
from maskmim.training.example_spec import RESERVED
from maskmim.types import Array, Batch, Tree

# Of a number of a token, as float16.
BYTES = 2


class PatchTokens(NamedTuple):
    """The images of a source that can be read.

    labels: {label set: i32[n]}.
    read:   (indices i64[m] of images, size) -> batches f16[size, K, D] in the order of the indices;
            the last batch repeats its last image.
    """

    labels: Mapping[str, np.ndarray]
    read: Callable[[np.ndarray, int], Iterator[np.ndarray]]

    @property
    def count(self) -> int:
        """The number of images."""
        return len(next(iter(self.labels.values())))


def token_shape(trained: Trained) -> tuple[int, int]:
    """Return K and D, the number of patch tokens of an image and their width."""
    return traced(trained, trained.method.apply["encode"]).tokens.shape[1:]


def kept_tokens(trained: Trained, source: Source) -> PatchTokens:
    """Encode a source once and keep its tokens in memory.

    Raises FeatureError for tokens that are not finite in float16.
    """
    run = _encoder(trained)
    tokens = np.empty((len(source.records), *token_shape(trained)), np.float16)

    def keep(rows: slice, batch: Batch, valid: np.ndarray) -> None:
        tokens[rows] = run(batch)[valid]

    labels, _ = _read_through(source, keep)

    def read(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
        for rows in padded_rows(indices, size):
            yield tokens[rows]

    return PatchTokens(labels, read)


def streamed_tokens(trained: Trained, source: Source) -> PatchTokens:
    """Read a source once for its labels, and encode images again whenever they are read.

    Raises FeatureError for tokens that are not finite in float16.
    """
    run = _encoder(trained)
    labels, places = _read_through(source, lambda rows, batch, valid: None)

    def read(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
        order = np.concatenate(list(padded_rows(indices, size)))
        for batch in source._replace(size=size).batches_at(places[order]):
            yield run(batch)

    return PatchTokens(labels, read)


def padded_rows(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield i64[size] of indices in order; the last ones repeat the last index."""
    for start in range(0, len(indices), size):
        rows = indices[start : start + size]
        yield np.pad(rows, (0, size - len(rows)), mode="edge")


def _read_through(
    source: Source, each: Callable[[slice, Batch, np.ndarray], None]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pass over a source once: labels and places in it of the images that can be read.

    each: (indices of the images that can be read, batch, its 'valid'), called for every batch.
    """
    count, start = len(source.records), 0
    labels: list[dict[str, np.ndarray]] = []
    places: list[np.ndarray] = []
    for batch in activity.counted(source.batches(count), count, source.size):
        valid = np.asarray(batch["valid"], bool)
        each(slice(start, start + int(valid.sum())), batch, valid)
        start += int(valid.sum())
        labels.append({name: np.asarray(v, np.int32)[valid] for name, v in batch["label"].items()})
        places.append(np.asarray(batch["record"])[valid])
    sets = {name: np.concatenate([part[name] for part in labels]) for name in labels[0]}
    return sets, np.concatenate(places)


def _encoder(trained: Trained) -> Callable[[Batch], np.ndarray]:
    """Return batch -> f16[b, K, D] of its patch tokens."""
    encode = trained.method.apply["encode"]

    def tokens(variables: Tree, arrays: Mapping[str, Array]) -> Array:
        return encode(variables, arrays).tokens.astype(jnp.float16)

    run = functools.partial(trained.jitted(tokens), trained.variables)

    def checked(batch: Batch) -> np.ndarray:
        arrays = {name: array for name, array in batch.items() if name not in RESERVED}
        rows = np.asarray(run(arrays))
        if not np.isfinite(rows[np.asarray(batch["valid"], bool)]).all():
            raise FeatureError(
                "patch tokens hold numbers that are NaN or above 65,504, the largest of float16: "
                "the parameters may have diverged; evaluate an earlier checkpoint"
            )
        return rows

    return checked
