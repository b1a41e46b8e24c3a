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
from maskmim.data.decode import MAX_PIXELS, decode
from maskmim.data.records import BadImage, DataError, Records, TooManyBadImages
from maskmim.data.transforms import resize_center_crop

__all__ = ["BadFiles", "eval_batches", "train_batches"]

Batch = dict[str, Any]
Transform = Callable[..., np.ndarray]

# After so many unreadable images in a row something is wrong with the data as a whole.
TRIES = 64


def train_batches(
    records: Records,
    *,
    size: tuple[int, int],
    channels: int,
    batch_size: int,
    seed: int,
    augment: Transform,
    start_batch: int = 0,
    workers: int = 0,
    threads: int = 4,
    max_pixels: int = MAX_PIXELS,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Endless training batches of this process, from global batch number `start_batch` on.

    size, channels: (H, W) and C of the pictures. batch_size: of all processes together.
    augment: brick `(rng, image u8[h, w, C], *, size) -> u8[H, W, C]`.
    workers: processes that prepare batches, 0 for none; threads: in each of them, or in this one.

    A batch holds, for b = batch_size / process_count:
      'image'  u8[b, H, W, C]
      'label'  {label set: i32[b]}, {} without labels
      'record' i64[b] the index of the record whose turn it was
      'bad'    i64[b] that index where the record could not be read, else -1; picture and labels
               are then those of the next record that can be (index + 1, ..., then from 0).
    Each epoch takes each record once, in a new order.
    Raises DataError for fewer records than batch_size, a batch that does not divide, a negative
    seed; while iterating TooManyBadImages, where 64 records in a row cannot be read.
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
    reader = _Reader(records, size, channels, augment, seed, threads, max_pixels)
    load = _TrainBatch(reader, order, batch_size, slots)
    batches = grain.MapDataset.range(sys.maxsize // batch_size)[start_batch:].map(load)
    return iter(_prefetched(batches, workers))


def eval_batches(
    records: Records,
    *,
    size: tuple[int, int],
    channels: int,
    batch_size: int,
    transform: Transform = resize_center_crop,
    threads: int = 4,
    max_pixels: int = MAX_PIXELS,
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
    reader = _Reader(records, size, channels, transform, 0, threads, max_pixels)
    batches = grain.MapDataset.range(count).map(_EvalBatch(reader, batch_size, slots))
    return iter(_prefetched(batches, workers=0))


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
    return ready.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))


@dataclass(frozen=True)
class _Reader:
    """Makes pictures of records: reads, decodes and transforms them."""

    records: Records
    size: tuple[int, int]
    channels: int
    transform: Transform
    seed: int
    threads: int
    max_pixels: int

    def batch(self, positions: Sequence[int], indices: Sequence[int]) -> Batch:
        """The batch of the records `indices`, with the randomness of the stream's `positions`."""
        count = len(positions)
        batch: Batch = {
            "image": np.zeros((count, *self.size, self.channels), np.uint8),
            "label": {name: np.full(count, -1, np.int32) for name in self.records.labels},
            "record": np.asarray(indices, np.int64),
            "bad": np.full(count, -1, np.int64),
        }

        def fill(places: Iterable[int]) -> None:
            for place in places:
                self._fill(batch, place, positions[place], indices[place])

        # Several images to a task: handing over one costs a tenth of decoding a small one.
        step = max(1, count // (4 * max(1, self.threads)))
        tasks = [range(i, min(i + step, count)) for i in range(0, count, step)]
        for _ in _pool(max(1, self.threads)).map(fill, tasks):
            pass
        return batch

    def _fill(self, batch: Batch, place: int, position: int, index: int) -> None:
        pixels, labels, used = self._readable(index)
        # A counter-based generator: any (seed, position) is a stream of its own, at no cost.
        rng = np.random.Generator(np.random.Philox(key=[self.seed, position]))
        batch["image"][place] = self.transform(rng, pixels, size=self.size)
        for name, column in batch["label"].items():
            column[place] = labels[name]
        if used != index:
            batch["bad"][place] = index

    def _readable(self, index: int) -> tuple[np.ndarray, dict[str, int], int]:
        """Pixels and labels of the first readable record from `index` on, and which it is."""
        total = len(self.records)
        first: BadImage | None = None
        for offset in range(min(TRIES, total)):
            used = (index + offset) % total
            try:
                example = self.records[used]
                pixels = decode(example.encoded, channels=self.channels, max_pixels=self.max_pixels)
                return pixels, example.labels, used
            except BadImage as error:
                first = first or error
        raise TooManyBadImages(
            f"{min(TRIES, total)} images in a row cannot be read, from {self.records.name(index)} "
            f"on ({first}): check the data, input.channels and the limit on pixels"
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
            "image": np.pad(batch["image"], [(0, absent), (0, 0), (0, 0), (0, 0)]),
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
