"""The order of examples is global: it does not depend on the number of processes or workers.

Figure R3: 1, 2, 4 and 8 processes see one global sequence of records, and a run that goes on with
another number of processes in the middle of an epoch loses none and repeats none.
"""

import contextlib
from functools import partial

import numpy as np
import pytest

from maskmim.data.arrays import ArrayRecords
from maskmim.data.pipeline import train_batches
from maskmim.data.transforms import random_resized_crop_flip
from maskmim.types import Spec

pytestmark = pytest.mark.full

SPEC = Spec((4, 4), 3, (0.5,) * 3, (0.25,) * 3)
BATCH = 24
# Not a multiple of the batch, one, the batch itself, a bit more than it.
SIZES = [101, 96, 24, 25]


def records(count):
    images = np.random.default_rng(0).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return ArrayRecords(images, {}, classes={}, title="pictures")


def streams(source, processes, start=0, workers=0):
    """Return the batches of each process of one run."""
    return [
        train_batches(
            source,
            spec=SPEC,
            batch_size=BATCH,
            seed=5,
            augment=partial(random_resized_crop_flip, scale=(0.3, 1.0)),
            start_batch=start,
            workers=workers,
            threads=1,
            process_index=index,
            process_count=processes,
        )
        for index in range(processes)
    ]


def seen(source, processes, batches, start=0, workers=0):
    """Return the records i64[n] and pictures u8[n, ...] of all processes, in global order."""
    with contextlib.ExitStack() as stack:
        shares = streams(source, processes, start, workers)
        for share in shares:
            if workers:
                stack.callback(share.close)
        parts = [next(share) for _ in range(batches) for share in shares]
    return (
        np.concatenate([part["record"] for part in parts]),
        np.concatenate([part["image"] for part in parts]),
    )


def assert_every_record_once_an_epoch(order, size):
    whole = len(order) // size
    assert whole >= 3
    epochs = order[: whole * size].reshape(whole, size)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(size))
    rest = order[whole * size :]
    assert len(set(rest)) == len(rest)


@pytest.mark.parametrize("size", SIZES)
def test_any_number_of_processes_sees_one_sequence(size):
    source, batches = records(size), -(-3 * size // BATCH) + 1
    alone, pictures = seen(source, 1, batches)
    assert_every_record_once_an_epoch(alone, size)
    for processes in (2, 4, 8):
        order, images = seen(source, processes, batches)
        np.testing.assert_array_equal(order, alone)
        np.testing.assert_array_equal(images, pictures)


def joined(source, plan, workers=0):
    """Return what successive runs of (processes, batches) see, each continuing the one before."""
    parts, start = [], 0
    for processes, batches in plan:
        parts.append(seen(source, processes, batches, start, workers))
        start += batches
    return tuple(map(np.concatenate, zip(*parts, strict=True)))


def assert_seen_as_by_one_process(source, plan, workers=0):
    order, images = joined(source, plan, workers)
    assert_every_record_once_an_epoch(order, len(source))
    alone, pictures = seen(source, 1, sum(batches for _, batches in plan))
    np.testing.assert_array_equal(order, alone)
    np.testing.assert_array_equal(images, pictures)


@pytest.mark.parametrize("size", SIZES)
def test_another_number_of_processes_goes_on_without_loss_or_repetition(size):
    batches, plan = -(-3 * size // BATCH) + 1, [8, 1, 8]
    # Changes fall inside an epoch wherever an epoch has more than one batch.
    share = batches // len(plan) + 1
    assert_seen_as_by_one_process(records(size), [(processes, share) for processes in plan])


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param([(1, 5), (2, 5), (1, 6)], id="1 and 2"),
        pytest.param([(8, 5), (1, 5), (8, 6)], id="8 and 1", marks=pytest.mark.slow),
    ],
)
def test_processes_with_two_workers_each(plan):
    assert_seen_as_by_one_process(records(101), plan, workers=2)
