"""metrics.jsonl and TensorBoard events: complete, without duplicates, harmless when they fail."""

import errno
import json
import logging
import math
import os
import queue
import shutil
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from maskmim.reporting import events as events_file
from maskmim.reporting.metrics_log import Log, read_metrics


def events(workdir):
    """The events of all files, as TensorBoard reads them: sorted by name, records with lengths."""
    found = []
    for path in sorted((workdir / "events").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            found.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += 12 + length + 4
    return found


def scalars(workdir):
    """{(tag, step): value} after the rule of TensorBoard: a start at step s forgets s and later."""
    kept = {}
    for event in events(workdir):
        if event.HasField("session_log"):
            kept = {key: value for key, value in kept.items() if key[1] < event.step}
        for value in event.summary.value:
            assert (value.tag, event.step) not in kept
            kept[value.tag, event.step] = value.simple_value
    return kept


def test_lines_and_events_hold_what_was_written(tmp_path):
    with Log(tmp_path, step=0) as log:
        log.write(1, {"loss": 0.5, "bad_steps": 0})
        log.write(2, {"loss": jnp.float32(0.25), "bad_steps": np.int32(1), "knn/a/top1": 0.75})
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 1, "loss": 0.5, "bad_steps": 0},
        {"step": 2, "loss": 0.25, "bad_steps": 1, "knn/a/top1": 0.75},
    ]
    assert scalars(tmp_path) == {
        ("loss", 1): 0.5,
        ("bad_steps", 1): 0.0,
        ("loss", 2): 0.25,
        ("bad_steps", 2): 1.0,
        ("knn/a/top1", 2): 0.75,
    }
    assert log.failures == 0


def test_a_line_is_in_the_file_before_close(tmp_path):
    log = Log(tmp_path, step=0)
    log.write(1, {"loss": 0.5})
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 0.5}]
    log.close()


def test_values_that_are_not_finite_are_null_and_the_line_is_strict_json(tmp_path):
    with Log(tmp_path, step=0) as log:
        log.write(1, {"loss": float("nan"), "grad_norm": float("inf"), "lr": jnp.float32(-jnp.inf)})

    def forbidden(name):
        raise AssertionError(f"{name} is no JSON")

    text = (tmp_path / "metrics.jsonl").read_text()
    row = json.loads(text, parse_constant=forbidden)
    assert row == {"step": 1, "loss": None, "grad_norm": None, "lr": None}
    assert math.isnan(scalars(tmp_path)["loss", 1])


def test_continuing_drops_later_lines_and_an_unfinished_one(tmp_path):
    with Log(tmp_path, step=0) as log:
        for step in range(1, 8):
            log.write(step, {"loss": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    with Log(tmp_path, step=4) as log:
        for step in range(5, 7):
            log.write(step, {"loss": 10.0 * step})
    rows = read_metrics(tmp_path / "metrics.jsonl")
    expected = {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0, 5: 50.0, 6: 60.0}
    assert [(row["step"], row["loss"]) for row in rows] == list(expected.items())
    assert scalars(tmp_path) == {("loss", step): value for step, value in expected.items()}
    assert len(list((tmp_path / "events").iterdir())) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events", "metrics.jsonl"]


def test_read_leaves_out_what_is_not_whole(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    path.write_bytes(
        b'{"step": 1}\n{"step": 2, "lo\n[1]\n{"loss": 1.0}\n\xff\xfe\n{"step": 3}\n{"st'
    )
    assert read_metrics(path) == [{"step": 1}, {"step": 3}]


def test_only_an_enabled_log_writes(tmp_path):
    with Log(tmp_path, step=0, enabled=False) as log:
        log.write(1, {"loss": 0.5})
        log.picture(1, "masks", np.zeros((4, 4, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_pictures_reach_tensorboard(tmp_path):
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    with Log(tmp_path, step=0) as log:
        log.picture(3, "images/masks", picture)
    (value,) = (value for event in events(tmp_path) for value in event.summary.value)
    assert (value.tag, value.image.height, value.image.width) == ("images/masks", 5, 7)


class FullDisk:
    """A file that takes a few bytes and then none."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken, self.room = min(self.room, len(data)), max(0, self.room - len(data))
        return self.file.write(data[:taken])

    def close(self):
        self.file.close()


def test_a_full_disk_is_counted_and_warned_of_once(tmp_path, caplog):
    log = Log(tmp_path, step=0)
    log.write(1, {"loss": 1.0})
    log._lines._file = FullDisk(log._lines._file, room=9)
    with caplog.at_level(logging.WARNING, "maskmim"):
        log.write(2, {"loss": 2.0})
        log.write(3, {"loss": 3.0})
    log._lines._file = log._lines._file.file
    log.write(4, {"loss": 4.0})
    log.close()
    assert log.failures == 2
    assert len(caplog.records) == 1
    assert str(tmp_path) in caplog.text
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 4]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_events_on_a_full_disk_do_not_block(tmp_path, monkeypatch):
    monkeypatch.setattr(events_file, "FLUSH_SECONDS", 0.0)
    log = Log(tmp_path, step=0)
    with open("/dev/full", "wb", buffering=0) as full:
        log._events._writer._py_recordio_writer._writer = full
        for step in range(1, 50):
            log.write(step, {"loss": 1.0})
    assert log.failures >= 49
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 49


def test_a_work_directory_that_cannot_be_written_does_not_stop_training(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with Log(blocked, step=0) as log:
        log.write(1, {"loss": 1.0})
    assert log.failures == 2
    assert len(caplog.records) == 1


def test_writing_after_close_is_left_out(tmp_path):
    log = Log(tmp_path, step=0)
    log.close()
    log.write(1, {"loss": 1.0})
    log.close()
    assert log.failures == 0
    assert read_metrics(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("value", ["0.5", None, [1.0, 2.0], np.zeros(3)])
def test_what_is_no_number_is_an_error_of_the_caller(tmp_path, value):
    with Log(tmp_path, step=0) as log, pytest.raises((TypeError, ValueError)):
        log.write(1, {"loss": value})


def test_a_folder_that_is_deleted_does_not_stop_training(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    log = Log(workdir, step=0)
    log.write(1, {"loss": 1.0})
    shutil.rmtree(workdir)
    for step in range(2, 20):
        log.write(step, {"loss": 1.0})
    log.close()
    assert not workdir.exists()


class Broken:
    """A writer of which every call fails."""

    def __init__(self, error):
        self.error = error

    def __getattr__(self, name):
        def fails(*_):
            raise self.error

        return fails


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), queue.Full(), MemoryError(), RuntimeError("tracker")]
)
def test_a_writer_that_fails_takes_no_other_with_it(tmp_path, caplog, error):
    log = Log(tmp_path, step=0)
    log._events.close()
    log._events = Broken(error)
    with caplog.at_level(logging.WARNING, "maskmim"):
        for step in range(1, 9):
            log.write(step, {"loss": 1.0})
            log.picture(step, "masks", np.zeros((4, 4, 3), np.uint8))
        log.close()
    assert log.failures == 17
    assert len(caplog.records) == 1
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == list(range(1, 9))


def test_other_processes_open_and_write_nothing(tmp_path):
    with Log(tmp_path, step=0, enabled=False) as log:
        log.write(1, {"loss": 1.0})
        log.picture(1, "masks", np.zeros((4, 4, 3), np.uint8))
    assert list(tmp_path.iterdir()) == [] and log.failures == 0


def test_a_log_is_never_emptied(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for number in (1, 2):
        with Log(tmp_path, step=0) as log:
            log.write(number, {"loss": 0.5})
    Log(tmp_path, step=0).close()
    path.write_text("torn")
    Log(tmp_path, step=0).close()
    assert read_metrics(tmp_path / "metrics.1.jsonl") == [{"step": 1, "loss": 0.5}]
    assert read_metrics(tmp_path / "metrics.2.jsonl") == [{"step": 2, "loss": 0.5}]
    assert (tmp_path / "metrics.3.jsonl").read_text() == "torn" and path.read_text() == ""
