"""Features of a frozen encoder, computed once and kept: what every probe works on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from maskmim.errors import UserError
from maskmim.training.sharding import on_mesh
from maskmim.types import Array, Encoded, Tree

Encode = Callable[[np.ndarray], Array]


class FeatureError(UserError, ValueError):
    """Images, labels or features that do not fit together."""


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
    """What an evaluator is given: `Features.of` checks that the parts fit.

    classes: {label set: names of its classes}; a label is an index into them.
    """

    train: Split
    test: Split
    classes: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, train: Split, test: Split, classes: Mapping[str, tuple[str, ...]]) -> Features:
        """Features after a check of widths and labels; FeatureError where they do not fit."""
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
            f"the {title} images have the label sets {sorted(split.labels)}, but classes are named "
            f"for {sorted(classes)}: both must be the same"
        )
    for name, labels in split.labels.items():
        if len(labels) != len(split.features):
            raise FeatureError(
                f"{title}: {len(split.features)} features but {len(labels)} labels {name!r}"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes[name]):
            raise FeatureError(
                f"{title}: labels {name!r} reach from {labels.min()} to {labels.max()}, but there "
                f"are {len(classes[name])} classes"
            )


def extract(encode: Encode, batches: Iterable[Mapping], *, name: str = "encoder") -> Split:
    """Features of all valid images of the batches: `extract_each` for one encoder.

    name: what errors call the encoder.
    """
    return extract_each({name: encode}, batches)[name]


def extract_each(
    encoders: Mapping[str, Encode], batches: Iterable[Mapping], *, stream: str = "image"
) -> dict[str, Split]:
    """Features by several encoders in one pass over the batches, so that images are decoded once.

    encoders: {name: encode}, encode [b, *size, C] -> f32[b, D], jitted; it never masks. Its result
              must be readable in whole by this process, see `pooled_encoder`.
    batches:  {stream: [b, *size, C], 'label': {label set: i32[b]}, 'valid': bool[b]} as numpy;
              every batch has the same b so that encoders are compiled once, rows that are not valid
              are padding and are dropped. With several processes each must see the same batches.
    Returns {name: Split} in the order of the batches, held in host memory. One batch is read while
    the device works on the next.
    Raises FeatureError without any image and where a feature is not finite.
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
    labels: list[dict[str, np.ndarray]] = []
    waiting: tuple[dict[str, Array], np.ndarray] | None = None
    for batch in batches:
        valid = np.asarray(batch["valid"], bool)
        coming = ({name: run(batch[stream]) for name, run in encoders.items()}, valid)
        labels.append({s: np.asarray(v, np.int32)[valid] for s, v in batch["label"].items()})
        _collect(found, waiting)
        waiting = coming
    _collect(found, waiting)
    if not sum(len(rows) for part in found.values() for rows in part):
        raise FeatureError("the batches hold no valid image: nothing to extract features from")
    sets = {s: np.concatenate([part[s] for part in labels]) for s in labels[0]}
    return {name: Split(_finite(name, np.concatenate(part)), sets) for name, part in found.items()}


def _collect(
    found: dict[str, list[np.ndarray]], waiting: tuple[dict[str, Array], np.ndarray] | None
) -> None:
    if waiting is None:
        return
    outputs, valid = waiting
    for name, output in outputs.items():
        found[name].append(np.asarray(output, np.float32)[valid])


def _finite(name: str, features: np.ndarray) -> np.ndarray:
    bad = int((~np.isfinite(features)).any(axis=1).sum())
    if bad:
        raise FeatureError(
            f"{name} gives features that are not finite for {bad} of {len(features)} images: its "
            "parameters may have diverged; evaluate an earlier checkpoint"
        )
    return features


def pool_class(encoded: Encoded) -> Array:
    """The class token, the first prefix token: Encoded -> f32[B, D].

    An encoder with registers and no class token cannot be told apart here; do not use it there.
    Raises FeatureError where there is no prefix token at all.
    """
    if encoded.prefix.shape[1] == 0:
        raise FeatureError("pooling 'class' needs a class token, this encoder has none: use 'mean'")
    return encoded.prefix[:, 0].astype(jnp.float32)


def pool_mean(encoded: Encoded) -> Array:
    """The mean of the patch tokens, prefix tokens left out: Encoded -> f32[B, D]."""
    return encoded.tokens.astype(jnp.float32).mean(axis=1)


POOLINGS: Mapping[str, Callable[[Encoded], Array]] = {"class": pool_class, "mean": pool_mean}


def pooling_named(name: str) -> Callable[[Encoded], Array]:
    """The pooling function of a name; FeatureError with the known names for any other."""
    if name not in POOLINGS:
        raise FeatureError(f"unknown pooling {name!r}: use one of {', '.join(sorted(POOLINGS))}")
    return POOLINGS[name]


def pooled_encoder(
    encode: Callable[[Tree, Mapping[str, Array]], Encoded],
    *,
    pooling: str,
    place: NamedSharding | None = None,
    stream: str = "image",
) -> Callable[[Tree, np.ndarray], Array]:
    """A jitted (variables, arrays [b, *size, C]) -> f32[b, D] from a method's `apply['encode']`.

    Make it once per training and bind the variables of the moment with functools.partial: as they
    are an argument, evaluating again does not compile again.

    pooling: a name in POOLINGS.
    place:   how a batch lies on the mesh (`sharding.by_example(mesh)`); the features then return
             replicated, so that every process of several reads all of them. Each process passes the
             same global batch. None runs on the default device.
    stream:  what the encoder's batch calls the arrays.
    """
    pool = pooling_named(pooling)

    def pooled(variables: Tree, images: Array) -> Array:
        return pool(encode(variables, {stream: images}))

    if place is None:
        return jax.jit(pooled)
    whole = NamedSharding(place.mesh, PartitionSpec())
    run = jax.jit(on_mesh(pooled, place.mesh), out_shardings=whole)

    def spread(variables: Tree, images: np.ndarray) -> Array:
        laid = jax.make_array_from_callback(images.shape, place, lambda index: images[index])
        return run(variables, laid)

    return spread
