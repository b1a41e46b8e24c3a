"""kill -9 at random instants of saves: the newest complete checkpoint is restored, intact."""

import collections
import multiprocessing
import random
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from maskmim.checkpoints import checksums
from maskmim.checkpoints.reader import checksums_path, stored_steps
from maskmim.checkpoints.writer import REMOVED, UNFINISHED, Checkpoints
from tests.faults.saver import like, save_for_ever, state_at

pytestmark = pytest.mark.full

RARE = "committed, without sums", "removing an old one"


@pytest.fixture(scope="module")
def processes():
    """Return a context that forks from a process with all imports and no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.saver"])
    return context


def names(folder):
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def phase(folder):
    """Return what a save was doing, judged by the files that it left."""
    present = names(folder)
    if any(name.endswith(REMOVED) for name in present):
        return "removing an old one"
    if any(UNFINISHED in name for name in present):
        return "writing"
    if (
        present
        and stored_steps(folder)
        and checksums.read(checksums_path(folder, stored_steps(folder)[-1])) is None
    ):
        return "committed, without sums"
    return "between saves" if stored_steps(folder) else "opening"


def kill_once(processes, workdir, megabytes, draw):
    """Start a saver and kill it: after a random time, or when a rare phase is seen."""
    folder = workdir / "checkpoints"
    aim = draw.choice(["any", "any", "writing", "writing", *RARE])
    process = processes.Process(target=save_for_ever, args=(str(workdir), megabytes))
    process.start()
    deadline = time.monotonic() + 120
    before = stored_steps(folder)[-1:]
    while stored_steps(folder)[-1:] == before and not any(
        UNFINISHED in name for name in names(folder)
    ):
        assert process.is_alive() and time.monotonic() < deadline, "it does not save"
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 0.6))
    until = time.monotonic() + 2
    while aim != "any" and phase(folder) != aim and time.monotonic() < until:
        pass
    process.kill()
    process.join()
    assert process.exitcode == -9


def damage(folder, step):
    return checksums.describe_damage(
        folder / str(step), checksums.read(checksums_path(folder, step))
    )


def check(workdir, megabytes):
    """Open the work directory as a training does; return the step, checked and with checksums."""
    folder = workdir / "checkpoints"
    committed = stored_steps(folder)
    # What has the name of a step is whole; only the newest may lack sums.
    for step in committed:
        sums = checksums.read(checksums_path(folder, step))
        assert step == committed[-1] if sums is None else not damage(folder, step)
    checkpoints = Checkpoints(workdir, keep_latest=2)
    leftovers = [name for name in names(folder) if not name.isdigit() and name != "checksums"]
    assert not leftovers
    restored = checkpoints.restore(like(megabytes))
    checkpoints.wait()
    assert stored_steps(folder) == committed  # nothing goes before the next save is complete
    assert (restored.step if restored else None) == (committed[-1] if committed else None)
    assert not (workdir / "checkpoints-damaged").exists()
    assert not any(damage(folder, step) for step in committed)
    if restored:
        assert restored.data == {"step": restored.step}
        for array in jax.tree.leaves(restored.state):
            np.testing.assert_array_equal(array, restored.step)
    following = restored.step + 1 if restored else 1
    checkpoints.save(following, state_at(following, megabytes), {"step": following}, "{}")
    checkpoints.close()
    assert stored_steps(folder) == [*committed, following][-2:]
    return following


def kill_often(processes, workdir: Path, kills, megabytes, seed):
    """Kill savers of one work directory in a row; return the number of kills by phase."""
    draw, phases, reached = random.Random(seed), collections.Counter(), 0
    for _ in range(kills):
        kill_once(processes, workdir, megabytes, draw)
        phases[phase(workdir / "checkpoints")] += 1
        step = check(workdir, megabytes)
        assert step >= reached
        reached = step
    assert reached > 0
    return phases


def test_killed_while_saving(processes, tmp_path):
    phases = kill_often(processes, tmp_path / "run", kills=10, megabytes=4, seed=0)
    assert phases["writing"] > 0, phases


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_killed_fifty_times_while_saving(processes, tmp_path, seed):
    phases = kill_often(processes, tmp_path / "run", kills=50, megabytes=2 * seed, seed=seed)
    print(f"\nkills by phase, {2 * seed} MB: {dict(phases)}")
    assert phases["writing"] > 0, phases
