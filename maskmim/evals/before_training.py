"""What can be checked of a training and its evaluations before the first step."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from maskmim.config.facts import facts_of
from maskmim.config.parse import ConfigError
from maskmim.config.patterns import without_match
from maskmim.data.class_lists import check_classes
from maskmim.data.decoder_check import check_same_meaning
from maskmim.data.image_check import check_same_scale, stream_remarks
from maskmim.data.one_example import check_example, check_labels
from maskmim.data.pipeline import check_batch_size
from maskmim.data.records import DataError, Records
from maskmim.data.workers import check_workers
from maskmim.errors import UserError, count_of, first_line
from maskmim.evals.drawable import check_pictures, picture_remarks
from maskmim.evals.evaluation import evaluated_shapes, left_out
from maskmim.evals.failures import RECONSTRUCTION
from maskmim.evals.features import pooling_by_name
from maskmim.evals.needs import unmet
from maskmim.evals.run import split_names, with_monitors
from maskmim.training import sharding
from maskmim.training.build import Assembly
from maskmim.tree_paths import named_leaves
from maskmim.types import Array, Batch, Encoded, Variables

NO_LABELS = "evals.train and evals.test name no labelled examples"


def check_names(config: ConfigDict) -> None:
    """Raise ConfigError for an evaluation that the config does not define."""
    probes, measures = config.evals.probes, config.evals.measures
    for name in measures:
        if name in probes or name == RECONSTRUCTION:
            raise ConfigError(
                f"evals.measures has {name!r}, which is another evaluation's name: choose another"
            )
    check_evaluations(config, config.evals.at_end, "evals.at_end")
    _check_known(config.evals.during, "evals.during", [*probes, *measures])
    _check_known(config.evals.monitors, "evals.monitors", [*measures])


def check_evaluations(config: ConfigDict, names: Sequence[str], key: str) -> None:
    """Raise ConfigError for a name that is no probe or measure and not 'reconstruction'."""
    _check_known(names, key, [RECONSTRUCTION, *config.evals.probes, *config.evals.measures])


def _check_known(names: Sequence[str], key: str, known: Sequence[str]) -> None:
    for name in names:
        if name in known:
            continue
        if name == RECONSTRUCTION:
            raise ConfigError(
                f"{key}: {name} is drawn and measured every log.pictures_every_epochs; name others "
                f"here ({', '.join(known)})"
            )
        near = difflib.get_close_matches(name, known, 1, 0.6)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"{key}: there is no evaluation {name!r}; known are {', '.join(known)}{hint}"
        )


def evaluations_of(config: ConfigDict, parts: Assembly) -> list[str]:
    """Return the names of the probes and measures that a training runs, each once."""
    during = config.evals.during if config.evals.every_epochs else ()
    names = with_monitors([*during, *config.evals.at_end], config.evals.monitors, parts)
    return [name for name in names if name != RECONSTRUCTION]


def check_training(config: ConfigDict, parts: Assembly, records: Records) -> list[str]:
    """Try one example of every source, and what each evaluation needs; compile nothing.

    Returns sentences about evaluations that will be skipped, about images that do not use the
    range of their decoder, about patterns of `optim` that match no parameter, and about too many
    workers.
    Raises ConfigError, DataError or another UserError for what would end the run later.
    """
    check_batch_size(records, config.train.batch_size, config.data.repeats)
    check_labels(records, parts.spec)
    check_same_meaning(parts.data.decode, parts.evals.decode)
    keys = "data.train", "data.decode", "data.augment"
    check_example(records, parts.data.decode, parts.data.augment, parts.spec, keys)
    check_evaluated_data(parts, records)
    check_learnt_classes(parts, records)
    check_same_scale(parts.data.decode, parts.evals.decode)
    remarks = stream_remarks(records, parts.data.decode, parts.spec)
    parameters = [name for name, _ in named_leaves(parts.shapes.params)]
    remarks += without_match(config.optim, "optim", parameters)
    remarks += check_workers(config.data.workers)
    check_pictures(parts)
    remarks += picture_remarks(parts)
    return [*remarks, *check_evaluators(config, parts, evaluations_of(config, parts))]


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


def check_learnt_classes(parts: Assembly, learnt: Records) -> None:
    """Raise DataError where an index means another class in the evaluated data than it was learnt.

    learnt: the training data. The label sets are those that the method learns.
    """
    if not parts.spec.labels:
        return
    evaluated = {"evals.train": parts.evals.train, "evals.test": parts.evals.test}
    for key, source in evaluated.items():
        if source is None:
            continue
        records = source()
        both = [name for name in parts.spec.labels if name in records.labels]
        if both:
            check_classes(learnt, records, keys=("data.train", key), only=both)


def check_classes_of_run(parts: Assembly) -> list[str]:
    """Do as `check_learnt_classes`; return a sentence where the training data are not here."""
    if not parts.spec.labels:
        return []
    try:
        learnt = parts.data.train()
    except (DataError, UserError, OSError, ImportError) as error:
        return [
            "the classes of the evaluated images are not compared with those that the network "
            f"learnt, as data.train cannot be opened: {first_line(error)}"
        ]
    check_learnt_classes(parts, learnt)
    return []


def check_evaluators(config: ConfigDict, parts: Assembly, names: Sequence[str]) -> list[str]:
    """Check data, batch size and pooling of some evaluations; return sentences about skipped ones.

    names: of probes and measures.
    Raises ConfigError, DataError, ShardingError or FeatureError.
    """
    probes, measures = split_names(names, parts.evals.measures)
    if probes or measures:
        check_eval_batch(parts, config.evals.batch_size)
        check_pooling(config, parts)
    return [*check_probes(parts, probes), *skipped_measures(parts, measures)]


def skipped_measures(parts: Assembly, measures: Sequence[str]) -> list[str]:
    """Return a sentence for each measure that lacks what it needs."""
    bricks = {name: parts.evals.measures[name] for name in measures}
    return [f"{name} will be skipped: {why}" for name, why in unmet(bricks, parts).items()]


def check_probes(parts: Assembly, probes: Sequence[str]) -> list[str]:
    """Check the data of some probes; return sentences about skipped ones."""
    if not probes:
        return []
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

    def pooled(variables: Variables, arrays: Batch) -> Array:
        encoded: Encoded = encode(variables, arrays)
        return pool(encoded)

    variables = Variables(parts.shapes.params, parts.shapes.extra, parts.frozen_shapes)
    without = left_out(config, parts.spec)
    shapes = evaluated_shapes(parts, config.evals.batch_size)
    arrays = {name: shape for name, shape in shapes.items() if name not in without}
    jax.eval_shape(sharding.on_mesh(pooled, parts.mesh), variables, arrays)
