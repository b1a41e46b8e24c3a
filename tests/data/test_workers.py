"""Scripts that start workers without `if __name__ == "__main__":`."""

import subprocess
import sys
import types

import pytest

from maskmim.data import workers
from tests.running import ROOT, environment

BATCHES = """
from maskmim.data.grocery import grocery
from maskmim.data.pipeline import train_batches
from maskmim.data.transforms import random_resized_crop_flip
from maskmim.types import Spec

{guard}
    batches = train_batches(
        grocery(split="val"), spec=Spec((16, 16), 3, (0.5,) * 3, (0.25,) * 3), batch_size=8,
        seed=0, augment=random_resized_crop_flip, workers=1,
    )
    print("records", next(batches)["record"].shape)
"""
GUARD = 'if __name__ == "__main__":'


def run_script(path, guard):
    path.write_text(BATCHES.format(guard=guard))
    command = [sys.executable, str(path)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=environment(), timeout=300
    )


@pytest.mark.full
def test_the_last_line_says_what_a_script_lacks(tmp_path):
    ended = run_script(tmp_path / "my_script.py", "if True:")
    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 1
    assert "my_script.py" in last and '`if __name__ == "__main__":`' in last
    assert "data.workers=0" in last and "restart at batch" not in ended.stderr


@pytest.mark.full
def test_a_guarded_script_runs(tmp_path):
    ended = run_script(tmp_path / "my_script.py", GUARD)
    assert ended.returncode == 0 and ended.stdout == "records (8,)\n", ended.stderr


@pytest.mark.parametrize(
    "source, guarded",
    [
        (f"{GUARD}\n    pass\n", True),
        ('def main():\n    pass\nif "__main__" == __name__:\n    main()\n', True),
        ("# if __name__ == '__main__':\nx = '__name__'\n", False),
        ("import maskmim\n", False),
        ("def (", True),
    ],
)
def test_which_scripts_are_unguarded(tmp_path, monkeypatch, source, guarded):
    main = types.ModuleType("__main__")
    main.__file__ = str(tmp_path / "script.py")
    (tmp_path / "script.py").write_text(source)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert workers.unguarded_script() == ("" if guarded else main.__file__)
    main.__spec__ = object()  # python -m
    assert workers.unguarded_script() == ""
    main.__spec__, main.__file__ = None, str(tmp_path / "gone.py")
    assert workers.unguarded_script() == ""
    del main.__file__  # an interactive session
    assert workers.unguarded_script() == ""


def test_a_death_before_the_first_batch_is_explained_and_later_ones_are_healed(monkeypatch):
    monkeypatch.setattr(workers, "unguarded_script", lambda: "/x/script.py")

    def dying(code, alive):
        def batches(number):
            yield from range(number, number + alive)
            raise RuntimeError(f"process was terminated unexpectedly with exit code {code}")

        return batches

    with pytest.raises(workers.UnguardedScript, match=r"runs /x/script\.py again") as error:
        next(workers.restart_dead_workers(dying(1, 0), 7))
    assert error.value.exit_code == 2
    healed = workers.restart_dead_workers(dying(1, 2), 7)
    assert [next(healed) for _ in range(4)] == [7, 8, 9, 10]
    with pytest.raises(workers.WorkersDied):  # killed, which the script does not explain
        next(workers.restart_dead_workers(dying(-9, 0), 7))


def test_far_more_workers_than_cores_are_worth_a_line(monkeypatch):
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    assert workers.check_workers(0) == workers.check_workers(8) == []
    (line,) = workers.check_workers(99)
    assert "data.workers=99 processes on 2 cores" in line and "set data.workers to 2" in line
