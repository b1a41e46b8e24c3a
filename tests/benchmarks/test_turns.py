"""Contestants take turns in processes of their own."""

import functools
import os
from pathlib import Path

from benchmarks.turns import take_turns


def counting(place, name):
    """A contestant that notes who ran, in which process."""

    def step():
        with open(place, "a", encoding="utf-8") as file:
            file.write(f"{name} {os.getpid()}\n")

    return step


def test_each_takes_its_turn_in_its_own_process(tmp_path):
    place = str(tmp_path / "log")
    makers = {name: functools.partial(counting, place, name) for name in ("a", "b")}
    taken = take_turns(makers, turns=2, steps=2)
    assert [len(turns) for turns in taken.values()] == [2, 2]
    assert all(turn.wall >= 0 and turn.cpu >= 0 for turns in taken.values() for turn in turns)
    lines = [line.split() for line in Path(place).read_text().splitlines()]
    assert [name for name, _ in lines] == [*"aaa", *"bbb", *"aabbaabb"]
    processes = {name: {pid for who, pid in lines if who == name} for name in "ab"}
    assert all(len(pids) == 1 for pids in processes.values())
    assert len({str(os.getpid())}.union(*processes.values())) == 3
