"""The search for the largest batch, on memories whose answer is known."""

import math

import pytest

from maskmim.planning.batches import largest_batch


class Memory:
    """A memory function that counts how often it is asked."""

    def __init__(self, function):
        self.function, self.asked = function, []

    def __call__(self, batch):
        self.asked.append(batch)
        return self.function(batch)


def line(batch):
    return 1000 + 2 * batch


def test_a_line_needs_few_trials():
    memory = Memory(line)
    found = largest_batch(memory, 10_000, unit=16, floor=1000, known={64: line(64)})
    assert found.batch == 4496 and found.too_large == 4512  # (10000 - 1000) / 2 = 4500
    assert len(memory.asked) <= 3 and 64 not in memory.asked
    assert found.tried[4496] <= 10_000 < found.tried[4512]


@pytest.mark.parametrize("start", [16, 4496, 4512, 100_000 // 16 * 16])
def test_from_anywhere(start):
    assert (
        largest_batch(line, 10_000, unit=16, floor=1000, known={start: line(start)}).batch == 4496
    )


def test_memory_that_grows_in_steps():
    def stairs(batch):
        return 1000 + 300 * math.ceil(batch / 100) + batch

    found = largest_batch(stairs, 8000, unit=8, floor=1000, known={256: stairs(256)}, max_trials=12)
    best = max(b for b in range(8, 8000, 8) if stairs(b) <= 8000)
    assert found.batch == best


def test_a_compiler_that_only_says_too_much():
    def shy(batch):
        return line(batch) if batch <= 4499 else math.inf

    assert (
        largest_batch(shy, 10_000, unit=16, floor=1000, known={8192: math.inf}, max_trials=16).batch
        == 4496
    )


def test_nothing_fits():
    found = largest_batch(line, 500, unit=16, floor=400, known={64: line(64)})
    assert found.batch == 0 and min(found.tried) == 16


def test_trials_are_limited():
    memory = Memory(lambda batch: math.sqrt(batch))
    found = largest_batch(memory, 1000, unit=1, floor=0, known={4: 2.0}, max_trials=3)
    assert len(memory.asked) <= 3 and found.too_large > found.batch + 1


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("start", [1, 37, 400])
def test_curves_and_a_floor(power, start):
    def curve(batch):
        return max(300.0, 10 * batch**power)

    memory = Memory(curve)
    found = largest_batch(
        memory, 2000, unit=8, floor=0, known={8 * start: curve(8 * start)}, max_trials=20
    )
    best = max(b for b in range(8, 60_000, 8) if curve(b) <= 2000) if curve(8) <= 2000 else 0
    assert found.batch == best and found.too_large == best + 8


@pytest.mark.parametrize("start", [64, 2048, 8192, 65_536])
def test_within_a_share_few_that_fit_are_tried(start):
    """What fits takes minutes to compile, what does not seconds."""
    memory = Memory(line)
    known = {start: line(start)}
    found = largest_batch(memory, 10_000, unit=16, floor=1000, known=known, precision=1 / 32)
    assert 4496 * 31 / 32 <= found.batch <= 4496 < found.too_large
    assert found.too_large - found.batch <= found.batch / 32
    assert sum(line(batch) <= 10_000 for batch in memory.asked) == 1
    assert len(memory.asked) <= 3
