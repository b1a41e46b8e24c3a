"""What can be checked of a training and its evaluations before the first step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from maskmim.config.facts import facts_of
from maskmim.config.parse import ConfigError
from maskmim.config.patterns import without_match
from maskmim.data.decoder_check import check_same_meaning
from maskmim.data.image_check import check_same_scale, range_remarks
from maskmim.data.one_example import check_example
from maskmim.data.pipeline import check_batch_size
from maskmim.data.records import Records
from maskmim.data.workers import check_workers
from maskmim.errors import count_of
from maskmim.evals.features import pooling_by_name
from maskmim.evals.run import check_classes
from maskmim.training import sharding
from maskmim.training.build import Assembly
from maskmim.tree_paths import named_leaves
from maskmim.types import Array, Encoded, Variables

RECONSTRUCTION = "reconstruction"
NO_LABELS = "evals.train and evals.test name no labelled examples"


def check_names(config: ConfigDict) -> None:
    """Raise ConfigError for an evaluation that the config does not define."""
    check_evaluations(config, config.evals.at_end, "evals.at_end")
    check_evaluations(config, config.evals.during, "evals.during", probes_only=True)


def check_evaluations(
    config: ConfigDict, names: Sequence[str], key: str, *, probes_only: bool = False
) -> None:
    """Raise ConfigError for a name that is no probe of the config and not 'reconstruction'."""
    known = [*config.evals.probes] if probes_only else [RECONSTRUCTION, *config.evals.probes]
    for name in names:
        if name == RECONSTRUCTION and probes_only:
            raise ConfigError(
                f"{key}: {name} is drawn and measured every log.pictures_every_epochs; name probes "
                f"here ({', '.join(known)})"
            )
        if name not in known:
            raise ConfigError(
                f"{key}: there is no evaluation {name!r}; known are {', '.join(known)}"
            )


def probes_of(config: ConfigDict) -> list[str]:
    """Return the names of the probes that a training runs, each once."""
    during = config.evals.during if config.evals.every_epochs else ()
    return [n for n in dict.fromkeys([*during, *config.evals.at_end]) if n != RECONSTRUCTION]


def check_training(config: ConfigDict, parts: Assembly, records: Records) -> list[str]:
    """Try one example of every source, and what each evaluation needs; compile nothing.

    Returns sentences about evaluations that will be skipped, about images that do not use the
    range of their decoder, about patterns of `optim` that match no parameter, and about too many
    workers.
    Raises ConfigError, DataError or another UserError for what would end the run later.
    """
    check_batch_size(records, config.train.batch_size)
    check_condition(config, records)
    check_same_meaning(parts.data.decode, parts.evals.decode)
    keys = "data.train", "data.decode", "data.augment"
    check_example(records, parts.data.decode, parts.data.augment, parts.spec, keys)
    check_evaluated_data(parts, records)
    check_same_scale(parts.data.decode, parts.evals.decode)
    remarks = range_remarks(records, parts.data.decode, parts.spec.channels)
    parameters = [name for name, _ in named_leaves(parts.shapes.params)]
    remarks += without_match(config.optim, "optim", parameters)
    remarks += check_workers(config.data.workers)
    return [*remarks, *check_probes(config, parts, probes_of(config))]


def check_condition(config: ConfigDict, records: Records) -> None:
    """Raise ConfigError where a model is conditioned on labels that the data lack, or on too few.

    A class beyond the table of their embeddings has none, and its loss is not a number.
    """
    if "condition" not in config or not config.condition.classes:
        return
    name, classes = config.condition.label, config.condition.classes
    if name not in records.labels:
        raise ConfigError(
            f"condition.label is {name!r}, the data have "
            f"{', '.join(sorted(records.labels)) or 'no labels'}: name one of these, or set "
            "condition.classes=0"
        )
    known = len(records.labels[name])
    if classes < known:
        raise ConfigError(
            f"condition.classes is {classes}, but {name!r} has {known} classes: set "
            f"condition.classes={known}, or 0 for a model without classes"
        )


def check_evaluated_data(parts: Assembly, records: Records | None = None) -> None:
    """Try one example of the data that is evaluated or drawn.

    records: the training data, if open.
    """
    evals = parts.evals
    for name, source in (("evals.train", evals.train), ("evals.test", evals.test)):
        if source is not None:
            keys = name, "evals.decode", "evals.transform"
            check_example(source(), evals.decode, evals.transform, parts.spec, keys)
    if evals.test is None:  # then pictures show the training data
        keys = "data.train", "evals.decode", "evals.transform"
        records = parts.data.train() if records is None else records
        check_example(records, evals.decode, evals.transform, parts.spec, keys)


def check_probes(config: ConfigDict, parts: Assembly, probes: Sequence[str]) -> list[str]:
    """Check data, batch size and pooling of some probes; return sentences about skipped ones.

    Raises ConfigError, DataError, ShardingError or FeatureError.
    """
    if not probes:
        return []
    check_eval_batch(parts, config.evals.batch_size)
    check_pooling(config, parts)
    if not (parts.evals.train and parts.evals.test):
        return [f"{', '.join(probes)} will be skipped: {NO_LABELS}"]
    train, test = parts.evals.train(), parts.evals.test()
    check_classes(train, test)
    labelled = [name for name in probes if facts_of(parts.evals.probes[name]).needs_labels]
    if labelled and not train.labels:
        return [f"{', '.join(labelled)} will be skipped: {NO_LABELS}"]
    return []


def check_eval_batch(parts: Assembly, batch_size: int) -> None:
    """Raise ConfigError unless evals.batch_size spreads evenly over the devices of a batch."""
    devices = math.prod(parts.mesh.shape[axis] for axis in sharding.BATCH_AXES)
    if batch_size < 1 or batch_size % devices:
        near = max(devices, round(batch_size / devices) * devices)
        raise ConfigError(
            f"evals.batch_size={batch_size} does not divide over {count_of(devices, 'device')}: "
            f"use a multiple of {devices}, for example {near}"
        )


def check_pooling(config: ConfigDict, parts: Assembly) -> None:
    """Trace the encoder with its pooling; raise FeatureError where they do not fit."""
    pool, encode = pooling_by_name(config.evals.pooling), parts.method.apply["encode"]

    def pooled(variables: Variables, images: Array) -> Array:
        encoded: Encoded = encode(variables, {parts.spec.stream: images})
        return pool(encoded)

    variables = Variables(parts.shapes.params, parts.shapes.extra, parts.frozen_shapes)
    shape = config.evals.batch_size, *parts.spec.shape
    images = jax.ShapeDtypeStruct(shape, np.dtype(parts.spec.dtype))
    jax.eval_shape(sharding.on_mesh(pooled, parts.mesh), variables, images)
