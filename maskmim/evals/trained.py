"""What a measure sees: a method with its variables, images to measure on, pooled features."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from maskmim.data.class_lists import check_classes
from maskmim.data.pipeline import eval_batches, output_shapes
from maskmim.data.records import Records
from maskmim.evals.evaluation import Evaluation, left_out
from maskmim.evals.features import Split, Unsuitable, extract, jitted_rows, pooled_encoder
from maskmim.evals.unreadable import Unreadable, watched
from maskmim.training import sharding
from maskmim.training.example_spec import RESERVED
from maskmim.types import Array, Batch, Method, Randomness, Spec, Tree, Variables, random_key


class Chosen:
    """Records that are some of others, by their indices; an index may come several times."""

    def __init__(self, records: Records, places: np.ndarray):
        self.records, self.places = records, places
        self.labels, self.fingerprint = records.labels, records.fingerprint

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> object:
        return self.records[int(self.places[index])]

    def name(self, index: int) -> str:
        """Return the name of a record."""
        return self.records.name(int(self.places[index]))


def spread(count: int, most: int) -> np.ndarray:
    """Return i64[min(count, most)], indices spread evenly from 0 to count - 1."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)


class Source(NamedTuple):
    """Images that a measure may read, as often as it likes; every process reads the same.

    name:      of the source in the config, 'evals.test'.
    open:      () -> its records; listing a large folder takes minutes, so the first use opens it.
    transform: of evaluation; augment: of training.
    size:      examples of a batch.
    unread:    {name: why} of images that could not be read; every pass adds to it.
    """

    name: str
    open: Callable[[], Records]
    spec: Spec
    decode: Callable[..., Any]
    transform: Callable[..., Any]
    augment: Callable[..., Any]
    size: int
    unread: dict[str, str]

    @property
    def records(self) -> Records:
        """The opened source; records.labels are {label set: names of its classes}."""
        return self.open()

    def batches(
        self, most: int, *, augmented: bool = False, copies: int = 1
    ) -> Iterator[dict[str, Any]]:
        """Return one pass over at most `most` images, spread evenly; batches of `size` as numpy.

        augmented: with the training augmentation, whose random numbers depend on the image and the
                   copy alone, so that every pass makes the same arrays.
        copies:    how often each image comes, one after the other.
        Batches as of `data.pipeline.eval_batches`; 'record' is the index in `records`, and rows
        that are not 'valid' are padding or stand for an unreadable image.
        """
        places = np.repeat(spread(len(self.records), most), copies)
        return self.batches_at(places, augmented=augmented)

    def batches_at(
        self, places: np.ndarray, *, augmented: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Return batches as of `batches`, of the records at some indices i64[n], in their order."""
        chosen = Chosen(self.records, places)
        batches = eval_batches(
            chosen,
            spec=self.spec,
            batch_size=self.size,
            decode=self.decode,
            transform=self.augment if augmented else self.transform,
        )
        for batch in watched(batches, chosen, self.unread):
            yield batch | {"record": places[batch["record"]]}

    def shapes(self, examples: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shapes and dtypes of the arrays of a batch of evaluation."""
        return {
            name: jax.ShapeDtypeStruct((examples, *each.shape), np.dtype(each.dtype))
            for name, each in output_shapes(self.transform, self.spec).items()
        }

    def as_trained(self) -> bool:
        """Return whether the method reads arrays that only the training augmentation makes."""
        made = (output_shapes(brick, self.spec) for brick in (self.augment, self.transform))
        names, of_transform = map(set, made)
        return not names <= of_transform


def _no_images() -> Split:
    raise Unsuitable("evals.train names no images to learn from")


class Trained(NamedTuple):
    """What a measure is called with: `(trained, *, ...) -> iterator of (name, value)`.

    method, variables, spec: as everywhere; variables are those of the step, on the mesh.
    mesh:     the devices; `on_devices` puts a batch there.
    step:     updates done, 0 before training.
    test:     images of `evals.test`; None where it names none.
    train:    images of `evals.train`, for classifiers to learn from; None where it names none.
    training: what the method is trained on, as evaluation transforms it.
    part:     examples of a micro-batch of the training, which are known to fit into memory.
    pooling:  `evals.pooling`.
    features: most -> f32[n, D], pooled features of at most so many `images`, spread evenly. They
              are those of the probes where these ran, and are computed once otherwise.
    start:    the metrics of the run's first evaluation, {} where there was none.
    without:  streams that do not enter the encoder, see `evals.streams`.
    untrained: f32[n, D], features of all test images by the encoder before training, where probes
              compared with it; None elsewhere.
    before:   () -> the variables before training, on the mesh; computed at each call.
    norm_eps: epsilon of the encoder's norms, None for a model that has no such keyword.
    learnt_from: () -> pooled features and labels of all images of `train`: those of the probes
              where these ran, and computed once otherwise.
    measure:  name of the measure in `evals.measures`, for messages that name its keys.
    """

    method: Method
    variables: Variables
    spec: Spec
    mesh: Mesh
    step: int
    test: Source | None
    train: Source | None
    training: Source
    part: int
    pooling: str
    features: Callable[[int], np.ndarray]
    start: Mapping[str, float] = {}
    without: tuple[str, ...] = ()
    untrained: np.ndarray | None = None
    before: Callable[[], Variables] | None = None
    norm_eps: float | None = None
    learnt_from: Callable[[], Split] = _no_images
    measure: str = ""

    @property
    def evaluated(self) -> Variables:
        """The variables as `Method.loss` takes them, with averaged params where there are any."""
        return self.method.evaluated(self.variables)

    @property
    def images(self) -> Source:
        """The images that need no labels: those of `test`, or of `training` where it names none."""
        return self.test or self.training

    def randomness(self, indices: np.ndarray) -> Randomness:
        """Return random numbers of images i64[b] that are the same in every run and step.

        They depend on the image's index alone: not on the seed, the batch or the devices.
        """
        return Randomness(random_key(0), np.asarray(indices, np.uint32))

    def on_devices(self, batch: Mapping[str, Any]) -> Batch:
        """Return the arrays of a batch on the mesh, split by example where the devices divide it.

        Every process passes the whole batch. Label sets are those that the method learns from.
        """
        kept = {name: value for name, value in batch.items() if name not in RESERVED}
        labels = batch["label"]
        if missing := sorted(set(self.spec.labels) - set(labels)):
            raise Unsuitable(
                f"the method learns from the labels {', '.join(missing)}, which these images lack"
            )
        if self.spec.labels:
            kept["label"] = {name: labels[name] for name in self.spec.labels}
        return put_everywhere(kept, self.mesh)

    def features_by(
        self, encode: Callable[..., Any], variables: Variables, batches: Iterable[Mapping]
    ) -> Split:
        """Return pooled features and labels of the valid rows of some batches, by any encoder.

        encode: such as `method.apply['encode_student']`; compiled once while it is the same object.
        """
        run = _pooled(encode, self.pooling, self.mesh, self.without)
        return extract(functools.partial(run, variables), batches)

    def jitted(self, function: Callable[..., Array]) -> Callable[..., Array]:
        """Return (variables, arrays of a batch) -> f32[b, ...], jitted over the mesh.

        function: of the same arguments, one row an example; streams of `without` are left out.
        """
        place = sharding.by_example(self.mesh)
        return jitted_rows(function, place=place, without=self.without)

    def rows_by(
        self, function: Callable[..., Array], variables: Variables, batches: Iterable[Mapping]
    ) -> Split:
        """Return f32[n, ...] of the valid rows of some batches, and their labels.

        function: (variables, arrays of a batch) -> f32[b, ...]; compiled at each call.
        """
        return extract(functools.partial(self.jitted(function), variables), batches)


@functools.lru_cache(maxsize=4)
def _pooled(
    encode: Callable, pooling: str, mesh: Mesh, without: tuple[str, ...]
) -> Callable[..., Array]:
    place = sharding.by_example(mesh)
    return pooled_encoder(encode, pooling=pooling, place=place, without=without)


def labelled_classes(trained: Trained) -> dict[str, tuple[str, ...]]:
    """Return the classes of training and test images, {label set: names}.

    Raises Unsuitable for training images without labels, DataError where the classes differ.
    """
    train, test = trained.train.records, trained.test.records
    if not train.labels:
        raise Unsuitable("the images of evals.train have no labels: name a labelled set there")
    check_classes(train, test)
    return dict(train.labels)


def batch_shares(mesh: Mesh) -> int:
    """Return over how many devices, or groups of devices, a batch is spread."""
    return math.prod(mesh.shape[axis] for axis in sharding.BATCH_AXES)


def put_everywhere(tree: Tree, mesh: Mesh) -> Tree:
    """Put arrays with examples first on a mesh; whole on each device where they do not divide."""
    shares = batch_shares(mesh)

    def put(array: np.ndarray) -> Array:
        even = array.shape[0] % shares == 0
        place = sharding.by_example(mesh) if even else sharding.replicated(mesh)
        return jax.make_array_from_callback(array.shape, place, lambda index: array[index])

    return jax.tree.map(lambda array: put(np.asarray(array)), tree)


def trained_of(
    evaluation: Evaluation,
    *,
    seen: np.ndarray | None = None,
    untrained: np.ndarray | None = None,
    start: Mapping[str, float] | None = None,
    unreadable: Unreadable | None = None,
    learnt_from: Split | None = None,
) -> Trained:
    """Return what the measures of an evaluation see.

    seen:       f32[n, D] features of all images of `evals.test`, where probes ran.
    learnt_from: features and labels of all images of `evals.train`, where probes ran.
    untrained, start: see `Trained`.
    unreadable: takes in images that cannot be read.
    """
    config, parts = evaluation.config, evaluation.parts
    unreadable = {} if unreadable is None else unreadable
    test, train, training = (
        _source(evaluation, name, open_records, unreadable.setdefault(name, {}))
        for name, open_records in (
            ("evals.test", parts.evals.test),
            ("evals.train", parts.evals.train),
            ("data.train", parts.data.train),
        )
    )
    trained = Trained(
        parts.method,
        evaluation.variables,
        parts.spec,
        parts.mesh,
        evaluation.step,
        test,
        train,
        training,
        config.train.batch_size // config.train.micro_batches,
        config.evals.pooling,
        lambda most: np.empty((0, 0), np.float32),
        start or {},
        left_out(config, parts.spec),
        untrained,
        evaluation.before_training,
        config.model.norm_eps if "norm_eps" in config.model else None,
    )
    return trained._replace(
        features=_features_once(evaluation, trained.images, seen),
        learnt_from=_split_once(evaluation, train, learnt_from),
    )


def _source(
    evaluation: Evaluation,
    name: str,
    open_records: Callable[[], Records] | None,
    unread: dict[str, str],
) -> Source | None:
    if open_records is None:
        return None
    config, parts = evaluation.config, evaluation.parts
    return Source(
        name,
        open_records,
        parts.spec,
        parts.evals.decode,
        parts.evals.transform,
        parts.data.augment,
        config.evals.batch_size,
        unread,
    )


def _split_once(
    evaluation: Evaluation, images: Source | None, seen: Split | None
) -> Callable[[], Split]:
    """Return `Trained.learnt_from`: what probes have seen, or of one pass over the images."""

    @functools.cache
    def split() -> Split:
        if seen is not None:
            return seen
        if images is None:
            return _no_images()
        return extract(evaluation.encoder, images.batches(len(images.records)))

    return split


def _features_once(
    evaluation: Evaluation, images: Source, seen: np.ndarray | None
) -> Callable[[int], np.ndarray]:
    """Return `Trained.features`: rows of what probes have seen, or of one pass over the images."""

    @functools.cache
    def features(most: int) -> np.ndarray:
        if seen is not None:
            return seen[spread(len(seen), most)]
        if not len(images.records):
            raise Unsuitable(f"{images.name} has no images: name a source that has some")
        return extract(evaluation.encoder, images.batches(most)).features

    return features
