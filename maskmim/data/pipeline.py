"""Batches for training and for evaluation, from any source, through grain.

The training stream is endless: its element g is record `order(seed, r // n)[r % n]` of n records
with r = g // repeats, augmented with random numbers that depend only on (seed, g). Global batch b
is the elements b * batch_size ... (b + 1) * batch_size - 1, so batches may span epochs; process p
of P gets the p-th of P equal, contiguous parts of it. The batches do not depend on the number of
processes, workers and threads, and starting at batch k costs nothing, so the state of the data
loader is one integer.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import grain
import numpy as np
from absl import flags

from maskmim.data.bad_files import BadFiles
from maskmim.data.batch_arrays import (
    channels_of,
    check_array,
    made,
    output_shapes,
    size_of,
    with_fields,
)
from maskmim.data.decode import picture
from maskmim.data.example_errors import naming
from maskmim.data.no_class import voids_of
from maskmim.data.records import BadImage, DataError, Example, Records, TooManyBadImages
from maskmim.data.transforms import resize_center_crop
from maskmim.data.workers import live_with_parent, restart_dead_workers
from maskmim.errors import count_of
from maskmim.types import Field, Spec

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
    repeats: int = 1,
    start_batch: int = 0,
    workers: int = 0,
    threads: int = 4,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Return the endless training batches of this process, from global batch `start_batch` on.

    spec: of an example. batch_size: of all processes together.
    decode:  brick `(rng, encoded, channels) -> array`, from a record to an array: an image
             u8[h, w, C], frames of a clip, a waveform. Where encoded is a mapping, channels is
             {stream: channels}, and the result {name: array}, see `decode_each`.
    augment: brick `(rng, array, size) -> array of spec.shape and spec.dtype`, or a dict of
             several arrays, see `output_shapes`. Of several streams or fields array and size are
             mappings, see `batch_arrays`. decode and augment draw from one Generator of this
             example alone.
    repeats: each record is decoded once and augmented this many times; these examples stand side
             by side in one batch, each with its own random numbers. A decoder that draws, draws
             once for all of them.
    workers: data loader processes, 0 for none. threads: in each worker, or in this process.

    A batch holds, for b = batch_size / process_count:
      spec.stream ('image')  spec.dtype[b, *spec.shape]; of other streams and of fields too; or
               the arrays that augment makes
      'label'  {label set: i32[b]}, {} without labels
      'record' i64[b] the index of the record that was due
      'bad'    i64[b] that index where the record could not be read, else -1; picture and labels
               are then those of the next readable record (index + 1, ..., then from 0).
      'reason' tuple of b texts: why it could not be read, '' where it could.
    Each epoch takes each record once (repeats times side by side), in a new order.
    Raises DataError for fewer examples than batch_size, a batch size that does not divide among the
    processes and repeats, a negative seed; for an array that does not fit; while iterating
    TooManyBadImages where 64 records in a row cannot be read, and WorkersDied where workers die
    repeatedly (they restart after a single death, see `workers`).
    """
    slots = _slots(batch_size, process_index, process_count)
    check_repeats(batch_size, repeats, process_count)
    check_batch_size(records, batch_size, repeats)
    if seed < 0:
        raise DataError(f"the seed must be 0 or more, got {seed}")
    # grain shuffles epoch e with seed + e: unless seeds are spread, 0 and 1 share their orders.
    shuffle_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    order = grain.MapDataset.range(len(records)).shuffle(seed=shuffle_seed).repeat()
    reader = _Reader(records, spec, decode, augment, seed, threads, "data.decode")
    load = _TrainBatch(reader, order, batch_size, slots, repeats)

    def begin(number: int) -> Iterator[Batch]:
        batches = grain.MapDataset.range(sys.maxsize // batch_size)[number:].map(load)
        return iter(_prefetch(batches, workers))

    return restart_dead_workers(begin, start_batch) if workers else begin(start_batch)


def check_batch_size(records: Records, batch_size: int, repeats: int = 1) -> None:
    """Raise DataError where the records, each taken `repeats` times, are fewer than one batch."""
    examples = len(records) * repeats
    if examples < batch_size:
        verb = "is" if len(records) == 1 else "are"
        times = f", {repeats} times each," if repeats > 1 else ""
        raise DataError(
            f"{count_of(len(records), 'image')}{times} {verb} fewer than one batch of "
            f"{batch_size:,}: lower train.batch_size to {examples} or less, or add images"
        )


def check_repeats(batch_size: int, repeats: int, processes: int = 1) -> None:
    """Raise DataError where data.repeats does not divide the batch of each process."""
    share = batch_size // processes
    if share % repeats:
        of_each = f" ({share:,} for each of {processes} processes)" if processes > 1 else ""
        raise DataError(
            f"data.repeats={repeats} does not divide train.batch_size={batch_size:,}{of_each}: the "
            "crops of a record stand in one batch; choose a multiple of "
            f"{repeats * processes} as train.batch_size"
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
    first_batch: int = 0,
) -> Iterator[Batch]:
    """Return one pass over the records in order, with the last batch padded to full size.

    first_batch: number of the batch to begin with.
    Batches as of `train_batches`, and 'valid' bool[b]: False for padding (black, labels and record
    -1) and for the substitutes of bad records, else True.
    Raises DataError where there are no records and where the batch size does not divide among the
    processes.
    """
    slots = _slots(batch_size, process_index, process_count)
    if not len(records):
        raise DataError("no images to evaluate: name a source with images in evals")
    count = -(-len(records) // batch_size)
    reader = _Reader(records, spec, decode, transform, 0, threads, "evals.decode")
    batches = grain.MapDataset.range(first_batch, count).map(_EvalBatch(reader, batch_size, slots))
    return iter(_prefetch(batches, workers=0))


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
    """A reader that turns records into arrays: reads, decodes and transforms them.

    key: of the decoder in the config.
    """

    records: Records
    spec: Spec
    decode: Decode
    transform: Transform
    seed: int
    threads: int
    key: str

    @functools.cached_property
    def _voids(self) -> dict[str, int]:
        return voids_of(self.decode, self.spec, self.key)

    def batch(self, positions: Sequence[int], indices: Sequence[int], repeats: int = 1) -> Batch:
        """Return the batch of records `indices`, with the randomness of the stream `positions`.

        positions: `repeats` of them for each record, one after the other.
        """
        count = len(positions)
        shapes = output_shapes(self.transform, self.spec)
        arrays = {name: np.zeros((count, *one.shape), one.dtype) for name, one in shapes.items()}
        records = np.repeat(np.asarray(indices, np.int64), repeats)
        batch: Batch = {
            **arrays,
            "label": {name: np.full(count, -1, np.int32) for name in self.records.labels},
            "record": records,
            "bad": np.full(count, -1, np.int64),
        }

        reasons = [""] * count

        def fill(groups: Iterable[int]) -> None:
            for group in groups:
                slots = range(group * repeats, (group + 1) * repeats)
                error = self._fill(batch, shapes, slots, positions[slots.start], indices[group])
                if error is not None:
                    for slot in slots:
                        batch["bad"][slot], reasons[slot] = indices[group], error.reason

        # Several images per task: submitting a task costs a tenth of decoding a small image.
        groups = len(indices)
        step = max(1, groups // (4 * max(1, self.threads)))
        tasks = [range(i, min(i + step, groups)) for i in range(0, groups, step)]
        for _ in _pool(max(1, self.threads)).map(fill, tasks):
            pass
        return batch | {"reason": tuple(reasons)}

    def _fill(
        self, batch: Batch, shapes: dict[str, Field], slots: range, position: int, index: int
    ) -> BadImage | None:
        """Fill the slots of one record; return why the record that was due could not be used."""
        read = self._readable(shapes, range(position, position + len(slots)), index)
        for slot, arrays in zip(slots, read.arrays, strict=True):
            for name, array in arrays.items():
                batch[name][slot] = array
            for name, column in batch["label"].items():
                column[slot] = read.labels[name]
        return read.error

    def _readable(self, shapes: dict[str, Field], positions: range, index: int) -> _Read:
        """Return the arrays of the first readable record from `index` on, for each position."""
        rng = _generator(self.seed, positions.start)
        total = len(self.records)
        first: BadImage | None = None
        for offset in range(min(TRIES, total)):
            used = (index + offset) % total
            try:
                with naming(self.records, used, self.spec, self.decode, self.key) as files:
                    example = self.records[used]
                    files.update(example.files)
                    arrays = self._arrays(rng, example, shapes, positions)
                return _Read(arrays, example.labels, first)
            except BadImage as error:
                first = first or error
        raise TooManyBadImages(
            f"{count_of(min(TRIES, total), 'image')} in a row cannot be read, from "
            f"{self.records.name(index)} on ({first}): check the data, input.channels and "
            "data.decode"
        )

    def _arrays(
        self, rng: np.random.Generator, example: Example, shapes: dict[str, Field], positions: range
    ) -> list[dict[str, np.ndarray]]:
        """Decode an example once, with rng, and transform it for each position."""
        channels = channels_of(self.spec, example.encoded)
        decoded = self.decode(rng, example.encoded, channels=channels)
        given = with_fields(decoded, example, self.spec)
        every = []
        for position in positions:
            if position != positions.start:
                rng = _generator(self.seed, position)
            outputs = self.transform(rng, given, size=size_of(self.spec))
            if not isinstance(outputs, Mapping):
                outputs = {self.spec.stream: outputs}
            every.append(
                {
                    name: check_array(made(outputs, name), shape, name, self.spec, self._voids)
                    for name, shape in shapes.items()
                }
            )
        return every


class _Read(NamedTuple):
    """What was made of a record: its arrays for each position, and its labels.

    error: why the record that was due could not be used, None where this is it.
    """

    arrays: list[dict[str, np.ndarray]]
    labels: dict[str, int]
    error: BadImage | None


@dataclass(frozen=True)
class _TrainBatch:
    """A callable from a global batch number to this process's part of the batch."""

    reader: _Reader
    order: Any
    batch_size: int
    slots: range
    repeats: int

    def __call__(self, number: int) -> Batch:
        positions = [int(number) * self.batch_size + slot for slot in self.slots]
        firsts = positions[:: self.repeats]
        indices = [int(self.order[first // self.repeats]) for first in firsts]
        return self.reader.batch(positions, indices, self.repeats)


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


def _generator(seed: int, position: int) -> np.random.Generator:
    """Return the random numbers of an element of the stream.

    The generator counts: every (seed, position) is an independent stream, at no cost.
    """
    return np.random.Generator(np.random.Philox(key=[seed, position]))


def _pad_column(column: np.ndarray, absent: int) -> np.ndarray:
    return np.pad(column, (0, absent), constant_values=-1)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return this process's decoding threads; a reader must be picklable and cannot hold them."""
    return ThreadPoolExecutor(threads, thread_name_prefix="maskmim-decode")
