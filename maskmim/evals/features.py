"""Features of a frozen encoder, computed once and shared by all probes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from maskmim.errors import UserError
from maskmim.training.example_spec import RESERVED
from maskmim.training.sharding import on_mesh
from maskmim.types import Array, Encoded, Tree

Encode = Callable[[Mapping[str, np.ndarray]], Array]


class FeatureError(UserError, ValueError):
    """Images, labels or features do not fit together."""


class Unsuitable(UserError, ValueError):
    """The data do not allow this measurement; the message says why and what to change."""


class Split(NamedTuple):
    """Features and labels of one set of images.

    features: f32[n, D].
    labels:   {label set: i32[n]}, empty for images without labels.
    """

    features: np.ndarray
    labels: Mapping[str, np.ndarray]


class Features(NamedTuple):
    """The input of an evaluator; `Features.of` checks that the parts fit.

    classes: {label set: names of its classes}; a label is an index into them.
    """

    train: Split
    test: Split
    classes: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, train: Split, test: Split, classes: Mapping[str, tuple[str, ...]]) -> Features:
        """Return Features after a check. Raises FeatureError where widths or labels do not fit."""
        for title, split in (("train", train), ("test", test)):
            _check_labels(title, split, classes)
        if train.features.shape[1] != test.features.shape[1]:
            raise FeatureError(
                f"training features have {train.features.shape[1]} dimensions, test features "
                f"{test.features.shape[1]}: use one encoder for both"
            )
        return cls(train, test, classes)


def _check_labels(title: str, split: Split, classes: Mapping[str, tuple[str, ...]]) -> None:
    if set(split.labels) != set(classes):
        raise FeatureError(
            f"the {title} images have the label sets {sorted(split.labels)}, but classes has names "
            f"for {sorted(classes)}: both must be the same"
        )
    for name, labels in split.labels.items():
        if len(labels) != len(split.features):
            raise FeatureError(
                f"{title}: {len(split.features)} features but {len(labels)} labels {name!r}"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes[name]):
            raise FeatureError(
                f"{title}: labels {name!r} reach from {labels.min()} to {labels.max()}, but "
                f"classes names {len(classes[name])} classes"
            )


def extract(encode: Encode, batches: Iterable[Mapping], *, name: str = "the encoder") -> Split:
    """Return the features of all valid images of the batches: `extract_all` for one encoder.

    name: of the encoder in error messages.
    """
    return extract_all({name: encode}, batches)[name]


def extract_all(encoders: Mapping[str, Encode], batches: Iterable[Mapping]) -> dict[str, Split]:
    """Return the features by several encoders, in one pass over the batches: images decode once.

    encoders: {name: encode}, encode {name: [b, ...]} -> f32[b, D] of the arrays of a batch, jitted
              and without masking. This process must be able to read the full result, see
              `pooled_encoder`.
    batches:  as of `data.pipeline.eval_batches`, {name: [b, ...], 'label': {label set: i32[b]},
              'valid': bool[b]} as numpy; every batch has the same b, so that encoders are compiled
              once. Rows that are not valid are padding and are dropped. All processes must see the
              same batches.
    Returns {name: Split} in the order of the batches, in host memory. One batch is read while the
    device works on the next.
    Raises FeatureError where the batches have no image and where a feature is not finite.
    """
    rows: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
    labels: list[dict[str, np.ndarray]] = []
    pending: tuple[dict[str, Array], np.ndarray] | None = None
    for batch in batches:
        valid = np.asarray(batch["valid"], bool)
        arrays = {name: array for name, array in batch.items() if name not in RESERVED}
        started = ({name: run(arrays) for name, run in encoders.items()}, valid)
        labels.append({s: np.asarray(v, np.int32)[valid] for s, v in batch["label"].items()})
        _collect(rows, pending)
        pending = started
    _collect(rows, pending)
    if not sum(len(part) for parts in rows.values() for part in parts):
        raise FeatureError("the batches hold no valid image: nothing to extract features from")
    sets = {s: np.concatenate([part[s] for part in labels]) for s in labels[0]}
    features = {name: np.concatenate(parts) for name, parts in rows.items()}
    return {name: Split(_check_finite(name, array), sets) for name, array in features.items()}


def _collect(
    rows: dict[str, list[np.ndarray]], pending: tuple[dict[str, Array], np.ndarray] | None
) -> None:
    """Read the outputs of a batch from the device and append its valid rows."""
    if pending is None:
        return
    outputs, valid = pending
    for name, output in outputs.items():
        rows[name].append(np.asarray(output, np.float32)[valid])


def _check_finite(name: str, features: np.ndarray) -> np.ndarray:
    bad = int((~np.isfinite(features.reshape(len(features), -1))).any(axis=1).sum())
    if bad:
        raise FeatureError(
            f"{name} gives features that hold NaN or infinite numbers for {bad} of "
            f"{len(features)} images: its parameters may have diverged; evaluate an earlier "
            "checkpoint"
        )
    return features


def pool_class(encoded: Encoded) -> Array:
    """Return the class token, the first prefix token: Encoded -> f32[B, D].

    Do not use for an encoder with registers and no class token, which looks the same here.
    Raises FeatureError where the encoder has no prefix token.
    """
    if encoded.prefix.shape[1] == 0:
        raise FeatureError(
            "pooling 'class' needs a class token, this encoder has none: set evals.pooling to "
            "'mean'"
        )
    return encoded.prefix[:, 0].astype(jnp.float32)


def pool_mean(encoded: Encoded) -> Array:
    """Return the mean of the patch tokens, without prefix tokens: Encoded -> f32[B, D]."""
    return encoded.tokens.astype(jnp.float32).mean(axis=1)


POOLINGS: Mapping[str, Callable[[Encoded], Array]] = {"class": pool_class, "mean": pool_mean}


def pooling_by_name(name: str) -> Callable[[Encoded], Array]:
    """Return the pooling function of a name. Raises FeatureError for an unknown name."""
    if name not in POOLINGS:
        raise FeatureError(f"unknown pooling {name!r}: use one of {', '.join(sorted(POOLINGS))}")
    return POOLINGS[name]


def pooled_encoder(
    encode: Callable[[Tree, Mapping[str, Array]], Encoded],
    *,
    pooling: str,
    place: NamedSharding | None = None,
    without: Collection[str] = (),
) -> Callable[[Tree, Mapping[str, np.ndarray]], Array]:
    """Return a jitted (variables, arrays {name: [b, ...]}) -> f32[b, D] of `apply['encode']`.

    Build it once per run and bind the current variables with functools.partial: they are an
    argument, so evaluating again does not compile again.

    encode:  a method's `apply['encode']`.
    pooling: a name in POOLINGS.
    place:   the sharding of a batch (`sharding.by_example(mesh)`); the features are then
             replicated, so that every process reads all of them. Each process passes the same
             global batch. None runs on the default device.
    without: names of arrays that are left out, such as streams that do not enter the encoder.
    """
    pool = pooling_by_name(pooling)

    def pooled(variables: Tree, arrays: Mapping[str, Array]) -> Array:
        return pool(encode(variables, arrays))

    return jitted_rows(pooled, place=place, without=without)


def jitted_rows(
    function: Callable[[Tree, Mapping[str, Array]], Array],
    *,
    place: NamedSharding | None = None,
    without: Collection[str] = (),
) -> Callable[[Tree, Mapping[str, np.ndarray]], Array]:
    """Return a function of variables and the arrays of a batch, one row an example, jitted.

    place, without: as of `pooled_encoder`.
    """

    def left(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: array for name, array in arrays.items() if name not in without}

    if place is None:
        run_here = jax.jit(function)
        return lambda variables, arrays: run_here(variables, left(arrays))
    replicated = NamedSharding(place.mesh, PartitionSpec())
    run = jax.jit(on_mesh(function, place.mesh), out_shardings=replicated)

    def put(array: np.ndarray) -> Array:
        return jax.make_array_from_callback(array.shape, place, lambda index: array[index])

    def run_sharded(variables: Tree, arrays: Mapping[str, np.ndarray]) -> Array:
        return run(variables, jax.tree.map(put, left(arrays)))

    return run_sharded
