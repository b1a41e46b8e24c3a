"""Batches for training and for evaluation, from any source, through grain.

The training stream is endless: its element g is record `order(seed, g // n)[g % n]` of n records,
augmented with random numbers that depend only on (seed, g). Global batch b is the elements
b * batch_size ... (b + 1) * batch_size - 1, so batches may span epochs; process p of P gets the
p-th of P equal, contiguous parts of it. The batches do not depend on the number of processes,
workers and threads, and starting at batch k costs nothing, so the state of the data loader is one
integer.
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

from maskmim.config.facts import bound_keywords, facts_of
from maskmim.data.bad_files import BadFiles
from maskmim.data.decode import picture
from maskmim.data.records import BadImage, DataError, Records, TooManyBadImages
from maskmim.data.transforms import resize_center_crop
from maskmim.data.workers import live_with_parent, restart_dead_workers
from maskmim.errors import count_of
from maskmim.types import Spec

__all__ = ["BadFiles", "eval_batches", "output_shapes", "train_batches"]

Batch = dict[str, Any]
Decode = Callable[..., np.ndarray]
Transform = Callable[..., np.ndarray | dict[str, np.ndarray]]

# After this many unreadable images in a row the data as a whole must be wrong.
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
    """Return the endless training batches of this process, from global batch `start_batch` on.

    spec: of an example. batch_size: of all processes together.
    decode:  brick `(rng, encoded, channels) -> array`, from a record to an array: an image
             u8[h, w, C], frames of a clip, a waveform.
    augment: brick `(rng, array, size) -> array of spec.shape and spec.dtype`, or a dict of
             several arrays, see `output_shapes`. decode and augment draw from one Generator of this
             example alone.
    workers: data loader processes, 0 for none. threads: in each worker, or in this process.

    A batch holds, for b = batch_size / process_count:
      spec.stream ('image')  spec.dtype[b, *spec.shape], or the arrays that augment makes
      'label'  {label set: i32[b]}, {} without labels
      'record' i64[b] the index of the record that was due
      'bad'    i64[b] that index where the record could not be read, else -1; picture and labels
               are then those of the next readable record (index + 1, ..., then from 0).
      'reason' tuple of b texts: why it could not be read, '' where it could.
    Each epoch takes each record once, in a new order.
    Raises DataError for fewer records than batch_size, a batch size that does not divide among the
    processes, a negative seed; while iterating TooManyBadImages where 64 records in a row cannot be
    read, and WorkersDied where workers die repeatedly (they restart after a single death, see
    `workers`).
    """
    slots = _slots(batch_size, process_index, process_count)
    check_batch_size(records, batch_size)
    if seed < 0:
        raise DataError(f"the seed must be 0 or more, got {seed}")
    # grain shuffles epoch e with seed + e: unless seeds are spread, 0 and 1 share their orders.
    shuffle_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    order = grain.MapDataset.range(len(records)).shuffle(seed=shuffle_seed).repeat()
    reader = _Reader(records, spec, decode, augment, seed, threads)
    load = _TrainBatch(reader, order, batch_size, slots)

    def begin(number: int) -> Iterator[Batch]:
        batches = grain.MapDataset.range(sys.maxsize // batch_size)[number:].map(load)
        return iter(_prefetch(batches, workers))

    return restart_dead_workers(begin, start_batch) if workers else begin(start_batch)


def check_batch_size(records: Records, batch_size: int) -> None:
    """Raise DataError where the records are fewer than one batch."""
    if len(records) < batch_size:
        verb = "is" if len(records) == 1 else "are"
        raise DataError(
            f"{count_of(len(records), 'image')} {verb} fewer than one batch of {batch_size:,}: "
            f"lower train.batch_size to {len(records)} or less, or add images"
        )


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
    """Return one pass over the records in order, with the last batch padded to full size.

    Batches as of `train_batches`, and 'valid' bool[b]: False for padding (black, labels and record
    -1) and for the substitutes of bad records, else True.
    Raises DataError where there are no records and where the batch size does not divide among the
    processes.
    """
    slots = _slots(batch_size, process_index, process_count)
    if not len(records):
        raise DataError("no images to evaluate: name a source with images in evals")
    count = -(-len(records) // batch_size)
    reader = _Reader(records, spec, decode, transform, 0, threads)
    batches = grain.MapDataset.range(count).map(_EvalBatch(reader, batch_size, slots))
    return iter(_prefetch(batches, workers=0))


def output_shapes(augment: Transform, spec: Spec) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays that an augmentation makes of one example, by name.

    One array, {spec.stream: spec.shape}, unless `Facts.makes` of the augmentation says otherwise.
    """
    shapes = facts_of(augment).makes
    if shapes is None:
        return {spec.stream: spec.shape}
    return shapes(spec.size, spec.channels, **bound_keywords(augment))


def _slots(batch_size: int, index: int, count: int) -> range:
    """Return the slots of the global batch that belong to process `index` of `count`."""
    if batch_size < 1 or batch_size % count:
        raise DataError(
            f"a batch size of {batch_size:,} does not divide equally among {count} processes: "
            f"choose a multiple of {count}"
        )
    share = batch_size // count
    return range(index * share, (index + 1) * share)


def _prefetch(batches: grain.MapDataset, workers: int) -> grain.IterDataset:
    """Prefetch batches in order; an element is a whole batch, so the buffer is small."""
    ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1 if workers else 2)
    ready = batches.to_iter_dataset(ahead)
    if not workers:
        return ready
    if not flags.FLAGS.is_parsed():  # grain reads absl flags; nothing else here does
        flags.FLAGS.mark_as_parsed()
    processes = grain.MultiprocessingOptions(num_workers=workers)
    return ready.mp_prefetch(processes, worker_init_fn=live_with_parent)


@dataclass(frozen=True)
class _Reader:
    """A reader that turns records into arrays: reads, decodes and transforms them."""

    records: Records
    spec: Spec
    decode: Decode
    transform: Transform
    seed: int
    threads: int

    def batch(self, positions: Sequence[int], indices: Sequence[int]) -> Batch:
        """Return the batch of records `indices`, with the randomness of the stream `positions`."""
        count = len(positions)
        arrays = {
            name: np.zeros((count, *shape), self.spec.dtype)
            for name, shape in output_shapes(self.transform, self.spec).items()
        }
        batch: Batch = {
            **arrays,
            "label": {name: np.full(count, -1, np.int32) for name in self.records.labels},
            "record": np.asarray(indices, np.int64),
            "bad": np.full(count, -1, np.int64),
        }

        reasons = [""] * count

        def fill(slots: Iterable[int]) -> None:
            for slot in slots:
                error = self._fill(arrays, batch["label"], slot, positions[slot], indices[slot])
                if error is not None:
                    batch["bad"][slot], reasons[slot] = indices[slot], error.reason

        # Several images per task: submitting a task costs a tenth of decoding a small image.
        step = max(1, count // (4 * max(1, self.threads)))
        tasks = [range(i, min(i + step, count)) for i in range(0, count, step)]
        for _ in _pool(max(1, self.threads)).map(fill, tasks):
            pass
        return batch | {"reason": tuple(reasons)}

    def _fill(
        self,
        arrays: dict[str, np.ndarray],
        labels: dict[str, np.ndarray],
        slot: int,
        position: int,
        index: int,
    ) -> BadImage | None:
        """Fill one slot of a batch; return why the record that was due could not be used."""
        # A counter-based generator: every (seed, position) is an independent stream, at no cost.
        rng = np.random.Generator(np.random.Philox(key=[self.seed, position]))
        decoded, example_labels, error = self._readable(rng, index)
        outputs = self.transform(rng, decoded, size=self.spec.size)
        if not isinstance(outputs, dict):
            outputs = {self.spec.stream: outputs}
        for name, array in arrays.items():
            check_type(outputs[name], array.dtype)
            array[slot] = outputs[name]
        for name, column in labels.items():
            column[slot] = example_labels[name]
        return error

    def _readable(
        self, rng: np.random.Generator, index: int
    ) -> tuple[np.ndarray, dict[str, int], BadImage | None]:
        """Return array and labels of the first readable record from `index` on.

        The last part says why record `index` itself cannot be read, None where it can.
        """
        total = len(self.records)
        first: BadImage | None = None
        for offset in range(min(TRIES, total)):
            used = (index + offset) % total
            try:
                example = self.records[used]
                decoded = self.decode(rng, example.encoded, channels=self.spec.channels)
                return decoded, example.labels, first
            except BadImage as error:
                first = first or error
        raise TooManyBadImages(
            f"{min(TRIES, total)} images in a row cannot be read, from {self.records.name(index)} "
            f"on ({first}): check the data, input.channels and data.decode"
        )


def check_type(values: np.ndarray, expected: np.dtype) -> None:
    """Raise DataError where levels of 8 bits stand for real numbers, or the other way round."""
    if np.asarray(values).dtype.kind == expected.kind:
        return
    raise DataError(
        f"data.decode and data.augment give {np.asarray(values).dtype} where input.dtype is "
        f"{expected}: use maskmim.data.decode.picture with input.dtype=uint8, and "
        "maskmim.data.decode.scaled or .as_stored with input.dtype=float32, in data.decode and in "
        "evals.decode"
    )


@dataclass(frozen=True)
class _TrainBatch:
    """A callable from a global batch number to this process's part of the batch."""

    reader: _Reader
    order: Any
    batch_size: int
    slots: range

    def __call__(self, number: int) -> Batch:
        positions = [int(number) * self.batch_size + slot for slot in self.slots]
        return self.reader.batch(positions, [int(self.order[g]) for g in positions])


@dataclass(frozen=True)
class _EvalBatch:
    """A callable from a batch number to this process's part of the batch, padded."""

    reader: _Reader
    batch_size: int
    slots: range

    def __call__(self, number: int) -> Batch:
        indices = [int(number) * self.batch_size + slot for slot in self.slots]
        present = [index for index in indices if index < len(self.reader.records)]
        batch = self.reader.batch(present, present)
        absent = len(indices) - len(present)
        padded = {
            name: np.pad(batch[name], [(0, absent)] + [(0, 0)] * (batch[name].ndim - 1))
            for name in output_shapes(self.reader.transform, self.reader.spec)
        }
        padded |= {
            "label": {name: _pad_column(column, absent) for name, column in batch["label"].items()},
            "record": _pad_column(batch["record"], absent),
            "bad": _pad_column(batch["bad"], absent),
            "reason": (*batch["reason"], *[""] * absent),
        }
        return padded | {"valid": (padded["record"] >= 0) & (padded["bad"] < 0)}


def _pad_column(column: np.ndarray, absent: int) -> np.ndarray:
    return np.pad(column, (0, absent), constant_values=-1)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return this process's decoding threads; a reader must be picklable and cannot hold them."""
    return ThreadPoolExecutor(threads, thread_name_prefix="maskmim-decode")
