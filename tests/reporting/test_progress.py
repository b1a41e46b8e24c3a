"""Progress on a terminal and in a pipe, with a clock that the tests advance."""

import contextlib
import fcntl
import io
import os
import struct
import termios

import pytest

from maskmim.reporting.progress import Progress, format_duration, format_rows


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


def begin(total=1000, start=0, stream=None, **changes):
    clock, stream = Clock(), stream or io.StringIO()
    options = {"images_per_step": 64, "clock": clock, "every_seconds": 10.0, **changes}
    return Progress(total, start, stream=stream, **options), clock, stream


def run(progress, clock, steps, seconds=0.5, waited=0.0):
    for step in steps:
        clock.now += seconds
        progress.update(step, loss=1 / step, lr=1e-3, waited=waited)


def test_plain_lines_tell_everything():
    progress, clock, stream = begin(total=1000)
    run(progress, clock, range(1, 41), waited=0.05)
    assert stream.getvalue().splitlines() == [
        "step    1/1000  loss 1.0000  lr 1.00e-03",
        "step   21/1000  loss 0.0476  lr 1.00e-03  128 img/s  data wait 10.0%  left 8:10",
    ]


def test_the_last_step_has_a_line_however_soon():
    progress, clock, stream = begin(total=3)
    run(progress, clock, range(1, 4))
    assert [text.split()[1] for text in stream.getvalue().splitlines()] == ["1/3", "3/3"]
    assert stream.getvalue().rstrip().endswith("left 0:00")


def test_the_first_step_with_its_compilation_is_in_no_rate():
    progress, clock, _ = begin()
    run(progress, clock, [1], seconds=300.0, waited=200.0)
    assert progress.figures() == {}
    run(progress, clock, range(2, 6), seconds=0.25, waited=0.05)
    assert progress.figures() == pytest.approx({"images_per_second": 256.0, "data_wait": 0.2})


def test_pauses_are_in_no_rate_even_when_they_fail():
    progress, clock, _ = begin()
    run(progress, clock, range(1, 5))
    with progress.pause():
        clock.now += 1000.0
    with pytest.raises(OSError), progress.pause():
        clock.now += 1000.0
        raise OSError
    run(progress, clock, range(5, 9))
    assert progress.figures()["images_per_second"] == pytest.approx(128.0)


def test_rates_follow_the_last_steps():
    progress, clock, _ = begin()
    run(progress, clock, range(1, 101), seconds=4.0, waited=4.0)
    run(progress, clock, range(101, 161), seconds=1.0)
    assert progress.figures() == pytest.approx({"images_per_second": 64.0, "data_wait": 0.0})


def test_updates_may_leave_out_steps():
    progress, clock, _ = begin()
    run(progress, clock, range(10, 101, 10), seconds=5.0)
    assert progress.figures()["images_per_second"] == pytest.approx(128.0)


def test_time_left_counts_from_the_step_of_a_resumed_run():
    progress, clock, stream = begin(total=920, start=800, every_seconds=0.0)
    run(progress, clock, [801, 802], seconds=1.0)
    assert stream.getvalue().splitlines()[-1].endswith("left 1:58")


def test_notes_are_lines_of_their_own():
    progress, clock, stream = begin()
    run(progress, clock, [1])
    progress.note("saved")
    assert stream.getvalue().splitlines()[1] == "saved"


def test_nothing_is_shown_on_other_processes():
    for stream in (io.StringIO(), Terminal()):
        progress, clock, _ = begin(stream=stream, enabled=False)
        run(progress, clock, [1, 2])
        progress.note("saved")
        progress.close()
        assert stream.getvalue() == ""
        assert progress.figures()


def test_a_terminal_has_a_bar_that_notes_do_not_break(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    progress, clock, stream = begin(total=40, start=30, stream=Terminal())
    run(progress, clock, range(31, 36), waited=0.05)
    progress.note("step 35: knn 41 %")
    run(progress, clock, range(36, 41), waited=0.05)
    progress.close()
    frames = stream.getvalue().replace("\n", "\r").split("\r")
    last = [frame for frame in frames if frame.strip()][-1]
    assert last.startswith("100% |")
    assert last.endswith("| 40/40  loss 0.0250  128 img/s  data wait 10.0%  left 0:00")
    assert "step 35: knn 41 %" in frames
    assert stream.getvalue().endswith("\n")
    assert frames[1].startswith(" 75% |")


def test_a_terminal_has_no_bar_before_the_first_step(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    progress, clock, stream = begin(stream=Terminal())
    progress.note("compiling")
    assert stream.getvalue() == "compiling\n"
    run(progress, clock, [1])
    assert "0% |" in stream.getvalue()


@pytest.mark.parametrize(("columns", "is_bar"), [(0, False), (40, False), (80, True)])
def test_a_narrow_terminal_has_plain_lines(columns, is_bar, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    main, other = os.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with open(other, "w") as stream:
        progress, clock, _ = begin(stream=stream)
        run(progress, clock, [1])
        progress.close()
    text = read_terminal(main)
    assert ("|" in text) == is_bar and ("step " in text) != is_bar and "loss 1.0" in text


def read_terminal(main: int) -> str:
    """Return all that was written to a terminal whose other end is closed, which comes in parts."""
    text = b""
    with contextlib.suppress(OSError), open(main, "rb", buffering=0) as terminal:
        while part := terminal.read(4096):
            text += part
    return text.decode()


def test_a_terminal_without_a_cursor_has_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    progress, clock, stream = begin(stream=Terminal())
    run(progress, clock, [1])
    assert stream.getvalue().startswith("step ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (41.6, "0:42"),
        (59.9, "1:00"),
        (725, "12:05"),
        (10921, "3:02:01"),
        (183_840, "2 d 03:04"),
    ],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


def test_sheets_are_aligned_and_wrapped():
    rows = [
        ("tokens", "image 8x8"),
        ("parameters", "one two three four five six seven eight"),
        ("x", ""),
    ]
    assert format_rows("Plan", rows, width=40).splitlines() == [
        "Plan",
        "----",
        "tokens      image 8x8",
        "parameters  one two three four five six",
        "            seven eight",
        "x",
    ]


def test_sheets_keep_columns_and_line_ends_inside_a_text():
    lines = format_rows("T", [("a", "768x3      whole\n768        split")], width=60).splitlines()
    assert lines[2:] == ["a  768x3      whole", "   768        split"]


def test_long_labels_stand_above_their_texts():
    label = "encoder/blocks/attention/query/kernel"
    lines = format_rows("T", [(label, "12x192x192 whole on every device")], width=44).splitlines()
    assert lines[2:] == [label, "    12x192x192 whole on every device"]


def test_no_rows_is_a_title():
    assert format_rows("T", []) == "T\n-"


class Closing(Terminal):
    """A terminal that can be closed: every write fails then."""

    closed_by_user = False

    def write(self, text):
        if self.closed_by_user:
            raise OSError(5, "Input/output error")
        return super().write(text)


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_terminal_that_is_closed_does_not_stop_training(monkeypatch, term):
    monkeypatch.setenv("TERM", term)
    stream = Closing()
    progress, clock, _ = begin(stream=stream)
    run(progress, clock, range(1, 5), seconds=20.0)
    assert stream.getvalue()
    stream.closed_by_user = True
    run(progress, clock, range(5, 60), seconds=20.0)
    progress.note("saved")
    progress.close()
    assert progress.figures()["images_per_second"] == pytest.approx(3.2)
    assert not progress.enabled
