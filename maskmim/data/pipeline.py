"""Batches for training and for evaluation, from any source, through grain.

The training stream is endless: its element g is record `order(seed, g // n)[g % n]` of n records,
augmented with random numbers that depend on (seed, g) alone. Batch b of the whole machine is the
elements b * batch_size ... (b + 1) * batch_size - 1, so batches may span epochs; process p of P
gets the p-th of P equal, contiguous parts of it. Neither processes nor workers nor threads change
what comes, and beginning at batch k costs nothing, so the state of the data is one integer.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np
from absl import flags

from maskmim.data.bad_files import BadFiles
from maskmim.data.decode import picture
from maskmim.data.records import BadImage, DataError, Records, TooManyBadImages
from maskmim.data.transforms import resize_center_crop
from maskmim.data.workers import live_with_parent, revived
from maskmim.types import Spec

__all__ = ["BadFiles", "eval_batches", "made_of", "train_batches"]

Batch = dict[str, Any]
Decode = Callable[..., np.ndarray]
Transform = Callable[..., np.ndarray | dict[str, np.ndarray]]

# After so many unreadable images in a row something is wrong with the data as a whole.
TRIES = 64


def train_batches(
    records: Records,
    *,
    spec: Spec,
    batch_size: int,
    seed: int,
    augment: Transform,
    decode: Decode = picture,
    start_batch: int = 0,
    workers: int = 0,
    threads: int = 4,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Endless training batches of this process, from global batch number `start_batch` on.

    spec: of an example. batch_size: of all processes together.
    decode:  brick `(rng, encoded, *, channels) -> array`, what a record holds as an array: an
             image u8[h, w, C], frames of a clip, a waveform.
    augment: brick `(rng, array, *, size) -> array of spec.shape and spec.dtype`, or a dict of
             several arrays whose names and shapes its attribute `makes` says, see `made_of`. Both
             draw from one Generator of this example alone.
    workers: processes that prepare batches, 0 for none; threads: in each of them, or in this one.

    A batch holds, for b = batch_size / process_count:
      spec.stream ('image')  spec.dtype[b, *spec.shape], or the arrays that augment makes
      'label'  {label set: i32[b]}, {} without labels
      'record' i64[b] the index of the record whose turn it was
      'bad'    i64[b] that index where the record could not be read, else -1; picture and labels
               are then those of the next record that can be (index + 1, ..., then from 0).
    Each epoch takes each record once, in a new order.
    Raises DataError for fewer records than batch_size, a batch that does not divide, a negative
    seed; while iterating TooManyBadImages, where 64 records in a row cannot be read, and
    WorkersDied, where workers die again and again (a death now and then is healed, see `workers`).
    """
    slots = _slots(batch_size, process_index, process_count)
    if len(records) < batch_size:
        raise DataError(
            f"{len(records)} images are fewer than one batch of {batch_size}: lower "
            f"train.batch_size to {len(records)} or less, or add images"
        )
    if seed < 0:
        raise DataError(f"the seed must be 0 or more, got {seed}")
    # grain shuffles epoch e with shuffle seed + e: unless spread, seeds 0 and 1 share their orders.
    shuffle_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    order = grain.MapDataset.range(len(records)).shuffle(seed=shuffle_seed).repeat()
    reader = _Reader(records, spec, decode, augment, seed, threads)
    load = _TrainBatch(reader, order, batch_size, slots)

    def begin(number: int) -> Iterator[Batch]:
        batches = grain.MapDataset.range(sys.maxsize // batch_size)[number:].map(load)
        return iter(_prefetched(batches, workers))

    return revived(begin, start_batch) if workers else begin(start_batch)


def eval_batches(
    records: Records,
    *,
    spec: Spec,
    batch_size: int,
    decode: Decode = picture,
    transform: Transform = resize_center_crop,
    threads: int = 4,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """One pass over the records in their order; the last batch is padded to full size.

    Batches are as those of `train_batches`, and 'valid' bool[b] is True where the picture is that
    of its record: False for padding (black, labels and record -1) and for substitutes of bad ones.
    Raises DataError without records or where the batch does not divide among the processes.
    """
    slots = _slots(batch_size, process_index, process_count)
    if not len(records):
        raise DataError("there are no images to evaluate: name a source with images in evals")
    count = -(-len(records) // batch_size)
    reader = _Reader(records, spec, decode, transform, 0, threads)
    batches = grain.MapDataset.range(count).map(_EvalBatch(reader, batch_size, slots))
    return iter(_prefetched(batches, workers=0))


def made_of(augment: Transform, spec: Spec) -> dict[str, tuple[int, ...]]:
    """The arrays that an augmentation makes of one example, by name: their shapes.

    It says so by the attribute `makes`, (size, channels, **its keywords) -> {name: shape}; without
    one it makes {spec.stream: spec.shape}.
    """
    function = getattr(augment, "func", augment)
    makes = getattr(function, "makes", None)
    if makes is None:
        return {spec.stream: spec.shape}
    return makes(spec.size, spec.channels, **getattr(augment, "keywords", {}))


def _slots(batch_size: int, index: int, count: int) -> range:
    """The places of the global batch that belong to process `index` of `count`."""
    if batch_size < 1 or batch_size % count:
        raise DataError(
            f"a batch of {batch_size} cannot be divided equally among {count} processes: choose a "
            f"multiple of {count}"
        )
    share = batch_size // count
    return range(index * share, (index + 1) * share)


def _prefetched(batches: grain.MapDataset, workers: int) -> grain.IterDataset:
    """Batches in order, the next ones made ahead: an element is a whole batch, so few are kept."""
    ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1 if workers else 2)
    ready = batches.to_iter_dataset(ahead)
    if not workers:
        return ready
    if not flags.FLAGS.is_parsed():  # grain reads its flags, which nobody else here uses
        flags.FLAGS.mark_as_parsed()
    processes = grain.MultiprocessingOptions(num_workers=workers)
    return ready.mp_prefetch(processes, worker_init_fn=live_with_parent)


@dataclass(frozen=True)
class _Reader:
    """Makes arrays of records: reads, decodes and transforms them."""

    records: Records
    spec: Spec
    decode: Decode
    transform: Transform
    seed: int
    threads: int

    def batch(self, positions: Sequence[int], indices: Sequence[int]) -> Batch:
        """The batch of the records `indices`, with the randomness of the stream's `positions`."""
        count = len(positions)
        arrays = {
            name: np.zeros((count, *shape), self.spec.dtype)
            for name, shape in made_of(self.transform, self.spec).items()
        }
        batch: Batch = {
            **arrays,
            "label": {name: np.full(count, -1, np.int32) for name in self.records.labels},
            "record": np.asarray(indices, np.int64),
            "bad": np.full(count, -1, np.int64),
        }

        def fill(places: Iterable[int]) -> None:
            for place in places:
                used = self._fill(arrays, batch["label"], place, positions[place], indices[place])
                if used != indices[place]:
                    batch["bad"][place] = indices[place]

        # Several images to a task: handing over one costs a tenth of decoding a small one.
        step = max(1, count // (4 * max(1, self.threads)))
        tasks = [range(i, min(i + step, count)) for i in range(0, count, step)]
        for _ in _pool(max(1, self.threads)).map(fill, tasks):
            pass
        return batch

    def _fill(
        self,
        arrays: dict[str, np.ndarray],
        labels: dict[str, np.ndarray],
        place: int,
        position: int,
        index: int,
    ) -> int:
        """Fills one place of a batch; the index of the record that it was made of."""
        # A counter-based generator: any (seed, position) is a stream of its own, at no cost.
        rng = np.random.Generator(np.random.Philox(key=[self.seed, position]))
        decoded, given, used = self._readable(rng, index)
        made = self.transform(rng, decoded, size=self.spec.size)
        if not isinstance(made, dict):
            made = {self.spec.stream: made}
        for name, array in arrays.items():
            array[place] = made[name]
        for name, column in labels.items():
            column[place] = given[name]
        return used

    def _readable(
        self, rng: np.random.Generator, index: int
    ) -> tuple[np.ndarray, dict[str, int], int]:
        """Array and labels of the first readable record from `index` on, and which it is."""
        total = len(self.records)
        first: BadImage | None = None
        for offset in range(min(TRIES, total)):
            used = (index + offset) % total
            try:
                example = self.records[used]
                decoded = self.decode(rng, example.encoded, channels=self.spec.channels)
                return decoded, example.labels, used
            except BadImage as error:
                first = first or error
        raise TooManyBadImages(
            f"{min(TRIES, total)} images in a row cannot be read, from {self.records.name(index)} "
            f"on ({first}): check the data, input.channels and data.decode"
        )


@dataclass(frozen=True)
class _TrainBatch:
    """Global batch number -> this process's part of it."""

    reader: _Reader
    order: Any
    batch_size: int
    slots: range

    def __call__(self, number: int) -> Batch:
        positions = [int(number) * self.batch_size + slot for slot in self.slots]
        return self.reader.batch(positions, [int(self.order[g]) for g in positions])


@dataclass(frozen=True)
class _EvalBatch:
    """Batch number -> this process's part of it, padded."""

    reader: _Reader
    batch_size: int
    slots: range

    def __call__(self, number: int) -> Batch:
        indices = [int(number) * self.batch_size + slot for slot in self.slots]
        there = [index for index in indices if index < len(self.reader.records)]
        batch = self.reader.batch(there, there)
        absent = len(indices) - len(there)
        padded = {
            name: np.pad(batch[name], [(0, absent)] + [(0, 0)] * (batch[name].ndim - 1))
            for name in made_of(self.reader.transform, self.reader.spec)
        }
        padded |= {
            "label": {name: _padded(column, absent) for name, column in batch["label"].items()},
            "record": _padded(batch["record"], absent),
            "bad": _padded(batch["bad"], absent),
        }
        return padded | {"valid": (padded["record"] >= 0) & (padded["bad"] < 0)}


def _padded(column: np.ndarray, absent: int) -> np.ndarray:
    return np.pad(column, (0, absent), constant_values=-1)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """The decoding threads of this process; not part of a reader, which must be picklable."""
    return ThreadPoolExecutor(threads, thread_name_prefix="maskmim-decode")
