"""`--profile STEPS`: which steps are traced, and that the trace can be read."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from maskmim.reporting.profiler import ProfileError, StepProfiler, parse_steps


@pytest.fixture
def traced(monkeypatch):
    """The calls that start and stop the trace, instead of the trace."""
    calls = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: calls.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append("stop"))
    return calls


def run_steps(profiler: StepProfiler, numbers: range) -> list[str]:
    """Runs empty steps and returns the notes."""
    notes = []
    with profiler:
        for number in numbers:
            with profiler.step(number):
                pass
            notes.append(profiler.after(number, ()))
    return notes


def test_the_steps_after_the_warm_up_are_traced(tmp_path, traced):
    notes = run_steps(StepProfiler(tmp_path, steps=3, first=11, last=99), range(11, 20))
    assert traced == ["start", "stop"]
    assert [bool(note) for note in notes] == [False] * 4 + [True] + [False] * 4
    assert "steps 13 to 15" in notes[4] and str(tmp_path) in notes[4]


def test_a_run_that_ends_early_ends_the_trace(tmp_path, traced):
    run_steps(StepProfiler(tmp_path, steps=30, first=1, last=99), range(1, 5))
    assert traced == ["start", "stop"]


def test_more_steps_than_are_left_end_with_the_training(tmp_path, traced):
    notes = run_steps(StepProfiler(tmp_path, steps=300, first=1, last=5), range(1, 6))
    assert traced == ["start", "stop"] and "steps 3 to 5" in notes[-1]


def test_too_few_steps_are_a_problem(tmp_path, traced):
    profiler = StepProfiler(tmp_path, steps=3, first=4, last=5)
    run_steps(profiler, range(4, 6))
    assert traced == [] and "fewer than 3 steps" in profiler.problem
    assert not StepProfiler(tmp_path, steps=0, first=4, last=5).problem


def test_nothing_is_traced_without_the_flag(tmp_path, traced):
    run_steps(StepProfiler(tmp_path, steps=parse_steps(None), first=1, last=99), range(1, 5))
    assert traced == []


def test_a_trace_names_its_steps(tmp_path):
    double = jax.jit(lambda x: 2 * x)
    with StepProfiler(tmp_path, steps=1, first=1, last=99) as profiler:
        for number in (1, 2, 3):
            with profiler.step(number):
                outputs = double(jnp.ones(3))
            profiler.after(number, outputs)
    assert len(list(tmp_path.rglob("*.xplane.pb"))) == 1
    [trace] = tmp_path.rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    steps = [event["args"]["step_num"] for event in events if event.get("name") == "train"]
    assert steps == ["3"]


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", ""])
def test_a_wrong_number_of_steps_is_refused(text):
    with pytest.raises(ProfileError, match="from 1"):
        parse_steps(text)
