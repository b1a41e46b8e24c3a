"""Two processes save one checkpoint; both skip a damaged one, which one of them moves aside."""

import re
import socket
import subprocess
import sys

from maskmim.checkpoints import checksums
from maskmim.checkpoints.reader import checksums_path, stored_steps
from tests.running import ROOT, environment


def test_two_processes_save_and_fall_back_as_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.two_savers", port, str(process), str(tmp_path)],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    outputs = [process.communicate(timeout=600) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    for out, _ in outputs:
        assert re.findall(r"restored (\d)", out) == ["3", "2", "2", "3"]
    moved = [err.count("moved to") for _, err in outputs]
    assert moved == [1, 0]
    folder = tmp_path / "checkpoints"
    assert stored_steps(folder) == [2, 3] and (tmp_path / "checkpoints-damaged" / "3").is_dir()
    for step in (2, 3):
        assert not checksums.describe_damage(
            folder / str(step), checksums.read(checksums_path(folder, step))
        )
