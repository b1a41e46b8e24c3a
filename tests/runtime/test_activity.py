"""What takes long is told, with a clock that the tests advance."""

import pytest

from maskmim.runtime.activity import EVERY, PHASES, SOON, Narrator, counted, detail
from maskmim.runtime.timeline import PHASES as ALL_PHASES
from maskmim.runtime.timeline import Timeline


class Clock:
    """Seconds that pass when told to."""

    now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def narrator():
    said, clock = [], Clock()
    found = Narrator(said.append, clock=clock)

    def wait(seconds):
        for _ in range(round(seconds / 0.25)):
            clock.now += 0.25
            found.tick()

    found.said, found.wait, found.clock = said, wait, clock
    return found


def test_what_is_done_soon_is_not_told(narrator):
    with narrator.during("reading"):
        narrator.wait(SOON - 0.5)
    narrator.wait(60)
    assert narrator.said == []


def test_what_lasts_is_told_and_told_again(narrator):
    with narrator.during("reading"):
        narrator.wait(SOON)
        assert narrator.said == ["reading ..."]
        narrator.wait(EVERY)
        narrator.detail("3 of 9")
        narrator.wait(EVERY)
    assert narrator.said == [
        "reading ...",
        f"reading: {SOON + EVERY:.0f} s so far",
        f"reading: 3 of 9, {SOON + 2 * EVERY:.0f} s so far",
    ]


def test_the_innermost_is_told_and_the_outer_one_again_afterwards(narrator):
    with narrator.during("evaluating"):
        narrator.wait(2)
        with narrator.during("features"):
            narrator.detail("1 of 2")
            narrator.wait(2)
        narrator.wait(12)
    first_words = [line.split()[0] for line in narrator.said]
    assert first_words == ["evaluating", "features", "evaluating", "evaluating:"]


def test_silence_is_never_longer_than_ten_seconds(narrator):
    moments = []
    narrator._say = lambda line: moments.append(narrator.clock.now)
    began = narrator.clock.now
    for seconds in (3, 9, 0.5, 20, 7.9, 40):
        with narrator.during(f"for {seconds} s"):
            narrator.wait(seconds)
    gaps = [b - a for a, b in zip([began, *moments], [*moments, narrator.clock.now], strict=True)]
    assert max(gaps) < 10


def test_phases_of_a_timeline_are_told_where_nothing_else_is(narrator):
    timeline = Timeline(clock=narrator.clock)
    narrator.follow(timeline)
    timeline.enter("compile")
    narrator.wait(2)
    with narrator.during("loading"):
        narrator.wait(2)
    timeline.enter("step")
    narrator.wait(100)
    assert [line.split()[0] for line in narrator.said] == ["compiling", "loading"]


def test_short_waits_for_batches_are_not_told(narrator):
    timeline = Timeline(clock=narrator.clock)
    narrator.follow(timeline)
    for _ in range(20):
        with timeline.during("data"):
            narrator.wait(2)
        timeline.enter("step")
    assert narrator.said == []


def test_phases_are_those_of_the_timeline():
    assert set(PHASES) <= set(ALL_PHASES)


def test_an_error_ends_an_activity(narrator):
    with pytest.raises(OSError), narrator.during("reading"):
        raise OSError
    narrator.wait(20)
    assert narrator.said == []


def test_counting_yields_all():
    assert list(counted(iter("abc"), 5, 2)) == ["a", "b", "c"]
    detail("")
