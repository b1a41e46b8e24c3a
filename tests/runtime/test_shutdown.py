"""No process waits for another without a limit: all exit with one code, and print why."""

import signal
import subprocess
import sys
import time

import pytest

from maskmim import errors
from tests.running import environment
from tests.runtime.test_several_processes import free_port

pytestmark = pytest.mark.full

PATIENCE = 12


class Peers:
    """Processes of tests/runtime/peer.py in a folder."""

    def __init__(self, folder, what="nothing", count=2):
        self.folder, port = folder, free_port()
        self.processes = []
        for process in range(count):
            words = [
                sys.executable,
                "-m",
                "tests.runtime.peer",
                port,
                count,
                process,
                PATIENCE,
                what,
            ]
            with self.file(process).open("w") as output:
                self.processes.append(
                    subprocess.Popen(
                        list(map(str, words)),
                        cwd=folder,
                        env=environment(),
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )

    def file(self, process):
        return self.folder / f"out{process}"

    def told(self, process):
        return self.file(process).read_text(errors="replace")

    def wait_for_steps(self, count):
        for _ in range(1200):
            if all(self.told(p).count("step ") > count for p in range(len(self.processes))):
                return
            assert all(p.poll() is None for p in self.processes), self.told(0) + self.told(1)
            time.sleep(0.1)
        raise AssertionError("no steps in two minutes")

    def code(self, process):
        """Return the exit code of a process that must end by itself, soon."""
        return self.processes[process].wait(timeout=90)


@pytest.fixture
def peers(tmp_path):
    started = []

    def start(*options, **more):
        started.append(Peers(tmp_path, *options, **more))
        return started[-1]

    yield start
    for each in started:
        for process in each.processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("stopped", [0, 1])
def test_who_waits_for_a_stopped_process_leaves_with_its_stacks(peers, stopped):
    group = peers()
    group.wait_for_steps(30)
    group.processes[stopped].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    other = 1 - stopped
    assert group.code(other) == errors.STUCK, group.told(other)
    assert time.monotonic() - began < PATIENCE + 8  # its patience, and an unanswered notice
    assert "no progress in 'step' since" in group.told(other)
    dumped = (group.folder / f"stuck-{other}.txt").read_text()
    assert "no progress in 'step'" in dumped and "in poll" in dumped and "in steps" in dumped
    group.processes[stopped].send_signal(signal.SIGCONT)
    assert group.code(stopped) == errors.STUCK, group.told(stopped)


@pytest.mark.parametrize("killed", [0, 1])
def test_who_is_left_by_a_killed_process_leaves_with_a_code(peers, killed):
    group = peers()
    group.wait_for_steps(30)
    group.processes[killed].kill()
    other = 1 - killed
    assert group.code(other) == errors.STUCK, group.told(other)
    assert "another process is gone" in group.told(other)


@pytest.mark.parametrize(
    ("what", "code", "why"),
    [
        ("fails", errors.FAILED, "process 1 leaves: a mistake in somebody's brick"),
        ("refuses", errors.BAD_DATA, "process 1 leaves: half of the images cannot be read"),
        ("refuses slowly", errors.BAD_DATA, "process 1 leaves: half of the images"),
        ("leaves", errors.SAVED, "process 1 leaves: SIGTERM during 'pictures'"),
        ("hangs", errors.STUCK, "process 1 leaves: no progress in 'data' since"),
        ("ends", errors.DONE, "step 39"),
        ("late", errors.STUCK, "process 1 did not come to 'vote 0' within 3 s"),
    ],
)
def test_all_leave_with_the_code_of_the_first(peers, what, code, why):
    group = peers(what)
    codes = [group.code(process) for process in range(2)]
    assert codes == [code, code], group.told(0) + group.told(1)
    assert why in group.told(0), group.told(0)
