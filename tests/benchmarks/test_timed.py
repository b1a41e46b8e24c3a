"""Commands of long comparisons stop together with their run."""

import os
import signal
import sys
import threading
import time

from benchmarks import timed


def test_a_cell_that_is_terminated_lets_its_training_save(tmp_path):
    saves = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); "
    saves += "print('ready', flush=True); time.sleep(60)"
    log = tmp_path / "log"

    def terminate_when_ready():
        while "ready" not in log.read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with log.open("w") as stream:
        threading.Thread(target=terminate_when_ready, daemon=True).start()
        assert timed._run_and_stop_with_it([sys.executable, "-c", saves], stream) == 75
    assert signal.getsignal(signal.SIGTERM) is before
