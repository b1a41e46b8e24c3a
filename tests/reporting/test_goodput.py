"""The time of a run by phase, with a clock that the tests advance."""

import json
import random

import pytest

from maskmim.reporting.goodput import Goodput, Start, goodput_table, read_starts, seconds_by_phase
from maskmim.runtime.timeline import PHASES, Timeline, process_age
from tests.reporting.test_progress import Clock


def walked(seed=0, before=3.0):
    """A timeline after a random walk through nested phases, and the seconds that passed."""
    clock, draw = Clock(), random.Random(seed)
    times = Timeline(clock=clock, before=before)
    began = clock.now

    def work(depth):
        with times.during(draw.choice(list(PHASES))):
            clock.now += draw.random()
            if depth:
                work(depth - 1)
            clock.now += draw.random()

    for _ in range(20):
        work(draw.randrange(3))
        clock.now += draw.random()
    return times, clock.now - began + before


def test_phases_sum_to_the_age_of_the_process():
    for seed in range(5):
        times, age = walked(seed)
        assert sum(times.seconds().values()) == pytest.approx(age, rel=1e-12)


def test_an_inner_phase_takes_its_time_from_the_outer_one_even_when_it_fails():
    clock = Clock()
    times = Timeline(clock=clock, before=5.0)
    clock.now += 1
    with times.during("step"):
        clock.now += 10
        with pytest.raises(OSError), times.during("checkpoint"):
            clock.now += 100
            raise OSError
        clock.now += 20
    found = times.seconds()
    assert (found["init"], found["step"], found["checkpoint"]) == (6.0, 30.0, 100.0)


def test_a_phase_that_is_not_known_is_refused():
    times = Timeline()
    with pytest.raises(KeyError):
        times.enter("lunch")
    assert times.now.name == "init"


def start(first, last, step=0.0, data=0.0, **others):
    seconds = dict.fromkeys(PHASES, 0.0) | {"step": step, "data": data, **others}
    return Start(0.0, first, last, seconds)


def test_steps_that_are_done_again_are_lost():
    """Killed at 100 with 90 saved, killed at 150 with only 80 readable, then to the end."""
    starts = [start(0, 100, step=50.0, data=10.0, init=7.0), start(90, 150, step=30.0)]
    found = seconds_by_phase([*starts, start(80, 200, step=60.0)])
    assert found["lost"] == pytest.approx(50 * 0.2 + 10 * 0.2 + 30)
    assert found["step"] == pytest.approx(50 * 0.8 + 60)
    assert found["data"] == pytest.approx(8.0)
    assert found["init"] == 7.0
    assert sum(found.values()) == pytest.approx(157.0)
    assert seconds_by_phase(starts)["lost"] == pytest.approx(50 * 0.1 + 10 * 0.1)


def test_a_start_without_a_step_loses_nothing():
    assert seconds_by_phase([start(10, 10, init=5.0), start(10, 20, step=1.0)])["lost"] == 0.0


def begun(workdir, first, before=0.0, **options):
    clock = Clock()
    times = Timeline(clock=clock, before=before)
    return Goodput(workdir, times, first=first, **options), times, clock


def test_starts_add_up_in_the_file(tmp_path):
    goodput, times, clock = begun(tmp_path, 0, before=2.0)
    with times.during("step"):
        clock.now += 40.0
        goodput.reached(10)
    # Killed here: the file holds what was known at the last step that wrote it.
    goodput, times, clock = begun(tmp_path, 5)
    with times.during("step"):
        clock.now += 20.0
    goodput.reached(10)
    goodput.write()
    first, second = read_starts(tmp_path / "goodput.jsonl")
    assert (first.first, first.last, first.seconds["init"], first.seconds["step"]) == (0, 10, 2, 40)
    assert (second.first, second.last, second.seconds["step"]) == (5, 10, 20.0)
    assert goodput.table().splitlines() == [
        "Time of 2 starts: 1:02",
        "----------------------",
        "training steps                       64.5%  0:40",
        "steps done again after a restart     32.3%  0:20",
        "starting: imports, data, restoring    3.2%  0:02",
    ]


def test_the_file_is_written_now_and_then(tmp_path):
    goodput, _, clock = begun(tmp_path, 0)
    written = []
    for step in range(1, 31):
        clock.now += 1.0
        goodput.reached(step)
        written.append(read_starts(tmp_path / "goodput.jsonl")[-1].last)
    assert written[0] == 1 and written[-1] >= 20 and len(set(written)) == 3


def test_what_is_not_a_line_is_left_out(tmp_path):
    path = tmp_path / "goodput.jsonl"
    good = {"begun": 1.0, "first": 0, "last": 3, "seconds": {"step": 2.0}}
    path.write_text(f'{json.dumps(good)}\n[1]\n{{"begun": 2}}\n{{"beg', encoding="utf-8")
    assert [found.last for found in read_starts(path)] == [3]
    assert read_starts(tmp_path / "none") == []


def test_a_file_that_cannot_be_written_is_warned_of_once(tmp_path, caplog):
    (tmp_path / "goodput.jsonl.part").mkdir()
    goodput, _, clock = begun(tmp_path, 0)
    for step in range(1, 40):
        clock.now += 10.0
        goodput.reached(step)
    assert len(caplog.records) == 1 and "goodput.jsonl" in caplog.text
    assert goodput.starts()[-1].last == 39


def test_other_processes_write_nothing(tmp_path):
    goodput, _, _ = begun(tmp_path, 0, enabled=False)
    goodput.reached(1)
    goodput.write()
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_nothing_but_starting():
    assert "100.0%" in goodput_table([start(0, 0, init=3.0)])


def test_this_process_is_older_than_nothing():
    assert 0.0 < process_age() < 1e6
