"""One of several processes that agree step by step, as a training does, without the training.

    python -m tests.runtime.peer PORT PROCESSES PROCESS SECONDS WHAT

WHAT happens in the last process at step 20: 'nothing', 'fails' (a plain error), 'refuses' (a user's
error), 'refuses slowly' (and its last word is read slowly), 'hangs' (its data), 'late' (it votes
too late), 'leaves' (as a signal during a picture); 'ends' ends all of them after 40 steps, as a
training does.
"""

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from maskmim import errors
from maskmim.data.records import TooManyBadImages
from maskmim.runtime import exits, processes
from maskmim.runtime.shutdown import Departure
from maskmim.runtime.timeline import Timeline
from maskmim.runtime.watchdog import Watchdog


def main(words):
    port, count, process, seconds, what = *map(int, words[:4]), words[4]
    processes.join(processes.Place(f"127.0.0.1:{port}", count, process))
    if what == "hangs" and process == count - 1:
        seconds -= 4  # else the one that waits for it may notice first
    times, departure = Timeline(), Departure()
    dog = Watchdog(
        times,
        Path(f"stuck-{process}.txt"),
        in_steps=seconds,
        elsewhere=100,
        leave=lambda why: departure.leave(errors.STUCK, why),
    )
    with departure.together(), dog:
        steps(times, departure, what, process == count - 1)
    return errors.DONE


def steps(times, departure, what, last):
    """Steps until something happens."""
    import jax

    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    agreement = processes.agreement(mesh)
    for step in range(40 if what == "ends" else 10_000):
        with times.during("step"):
            agreement.ask(False)
        print("step", step, flush=True)
        if step == 20 and last:
            with times.during("data"):
                happens(what, departure)
        if step == 20 and what == "late":
            processes.every(True, seconds=3)
        time.sleep(0.02)


def happens(what, departure):
    if what == "fails":
        raise ZeroDivisionError("a mistake in somebody's brick")
    if what == "refuses slowly":
        exits.leave = partial(slowly, exits.leave)
    if what.startswith("refuses"):
        raise TooManyBadImages("half of the images cannot be read")
    if what == "leaves":
        departure.leave(errors.SAVED, "SIGTERM during 'pictures'")
    if what in ("hangs", "late"):
        time.sleep(1000 if what == "hangs" else 8)


def slowly(leave, code):
    """Longer than the coordination service, which process 0 has, is there."""
    time.sleep(15)
    leave(code)


if __name__ == "__main__":
    sys.exit(exits.run(main, sys.argv[1:]))
