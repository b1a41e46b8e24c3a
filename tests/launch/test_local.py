"""launch/local.sh: when it starts again, with whose code it exits, one signal for each press."""

import os
import pty
import signal
import time

import pytest

from maskmim import errors
from tests.launch import contract
from tests.launch.pretend import Pretended
from tests.running import ROOT

ARGUMENTS = ("--config", "configs/mae.py", "--config.data.augment.scale=(0.2, 1.0)")


@pytest.fixture
def pretended(tmp_path):
    return Pretended(tmp_path)


def local(pretended, *codes, **changes):
    """Run local.sh with a trainer that exits with these codes; return (code, its calls)."""
    changes = {"PYTHON": str(pretended.trainer(*codes)), **changes}
    result = pretended.run("launch/local.sh", *ARGUMENTS, **changes)
    return result.returncode, pretended.calls("trainer")


@pytest.mark.parametrize("first", contract.answers())
def test_it_starts_again_where_the_table_does_not_say_no(first, pretended):
    """A saved run was stopped by a person, through this script."""
    again = first in contract.saying("yes", "perhaps") - {errors.SAVED}
    code, calls = local(pretended, first, 0)
    assert (code, len(calls)) == ((0, 2) if again else (first, 1))
    assert calls[0] == ["-m", "maskmim.train", *ARGUMENTS]


def test_it_gives_up(pretended):
    code, calls = local(pretended, 1, 70, 1, 0, RESTARTS="2")
    assert (code, len(calls)) == (1, 3)


def test_processes_get_their_places(pretended):
    code, calls = local(pretended, 0, 0, 0, PROCESSES="3", PORT="5555")
    assert code == 0
    hosts = ["--coordinator", "127.0.0.1:5555", "--processes", "3", "--process"]
    expected = [["-m", "maskmim.train", *ARGUMENTS, *hosts, str(index)] for index in range(3)]
    assert sorted(calls) == expected


@pytest.mark.parametrize("codes", [(66, 134), (134, 66), (1, 66)])
def test_a_process_that_must_not_start_again_decides(codes, pretended):
    """One process finds bad data; the other dies of its loss."""
    by_place = pretended.program(
        "by_place", f"codes=({codes[0]} {codes[1]}); exit ${{codes[${{!#}}]}}"
    )
    code, _ = local(pretended, PROCESSES="2", PYTHON=str(by_place))
    assert (code, len(pretended.calls("by_place"))) == (66, 2)


SAVING = """
trap 'echo TERM >> SIGNALS; stop=1' TERM
trap 'echo INT >> SIGNALS; stop=1' INT
trap 'echo USR1 >> SIGNALS; stop=1' USR1
stop=
touch READY
for ((i = 0; i < 300; i++)); do [[ -n $stop ]] && break; /bin/sleep 0.1; done
/bin/sleep 0.3
exit LEAVES
"""


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)


def saving(pretended, leaves):
    """Return a trainer that records signals, and exits with a code some time after the first."""
    ready, signals = pretended.folder / "ready", pretended.folder / "signals"
    does = SAVING.replace("READY", str(ready)).replace("SIGNALS", str(signals))
    return pretended.program("trainer", does.replace("LEAVES", str(leaves))), ready, signals


@pytest.mark.parametrize("leaves", [75, 1])
def test_ctrl_c_in_a_terminal_reaches_the_training_once(leaves, pretended):
    """A second signal ends a training that is saving, and a stopped one is not started again."""
    trainer, ready, signals = saving(pretended, leaves)
    child, terminal = pty.fork()
    if not child:
        os.chdir(ROOT)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where tests run in the background
        words = ["launch/local.sh", *ARGUMENTS]
        os.execvpe(words[0], words, pretended.environment(PYTHON=str(trainer)))
    wait_for(ready)
    os.write(terminal, b"\x03")
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == leaves
    assert signals.read_text().split() == ["TERM"]
    assert len(pretended.calls("trainer")) == 1


def test_signals_are_handed_on(pretended):
    for name in ("TERM", "USR1"):
        trainer, ready, signals = saving(pretended, 75)
        started = pretended.start("launch/local.sh", *ARGUMENTS, PYTHON=str(trainer))
        wait_for(ready)
        started.send_signal(signal.Signals[f"SIG{name}"])
        assert started.wait(timeout=30) == 75
        assert signals.read_text().split() == [name]
        for path in (ready, signals):
            path.unlink()
