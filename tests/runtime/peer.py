"""One of several processes that vote at each step, as a training does, without the training.

    python -m tests.runtime.peer PORT PROCESSES PROCESS SECONDS WHAT

WHAT happens in the last process at step 20: 'nothing', 'fails' (a plain error), 'refuses' (a user's
error), 'refuses slowly' (and exits late), 'hangs' (its data), 'late' (it votes too late), 'leaves'
(as after a signal during a picture); 'ends' ends all of them after 40 steps, as a training does.
"""

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from maskmim import errors
from maskmim.data.records import TooManyBadImages
from maskmim.runtime import exits, processes
from maskmim.runtime.shutdown import Shutdown
from maskmim.runtime.timeline import Timeline
from maskmim.runtime.watchdog import Watchdog


def main(words):
    port, count, process, seconds, what = *map(int, words[:4]), words[4]
    processes.join(processes.Rendezvous(f"127.0.0.1:{port}", count, process))
    if what == "hangs" and process == count - 1:
        seconds -= 4  # else the one that waits for it may notice first
    times, shutdown = Timeline(), Shutdown()
    dog = Watchdog(
        times,
        Path(f"stuck-{process}.txt"),
        in_steps=seconds,
        elsewhere=100,
        end_process=lambda why: shutdown.end_process(errors.STUCK, why),
    )
    with shutdown.end_together(), dog:
        steps(times, shutdown, what, process == count - 1)
    return errors.DONE


def steps(times, shutdown, what, last):
    """Take steps until something happens."""
    import jax

    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    stop_vote = processes.make_stop_vote(mesh)
    for step in range(40 if what == "ends" else 10_000):
        with times.during("step"):
            stop_vote.poll(False)
        print("step", step, flush=True)
        if step == 20 and last:
            with times.during("data"):
                happens(what, shutdown)
        if step == 20 and what == "late":
            processes.all_true(True, seconds=3)
        time.sleep(0.02)


def happens(what, shutdown):
    if what == "fails":
        raise ZeroDivisionError("a mistake in somebody's brick")
    if what == "refuses slowly":
        exits.exit_now = partial(slowly, exits.exit_now)
    if what.startswith("refuses"):
        raise TooManyBadImages("half of the images cannot be read")
    if what == "leaves":
        shutdown.end_process(errors.SAVED, "SIGTERM during 'pictures'")
    if what in ("hangs", "late"):
        time.sleep(1000 if what == "hangs" else 8)


def slowly(exit_now, code):
    """Exit only after the coordination service, which process 0 runs, is gone."""
    time.sleep(15)
    exit_now(code)


if __name__ == "__main__":
    sys.exit(exits.run(main, sys.argv[1:]))
