"""The same seed gives the same bits, and splitting a batch changes neither masks nor pictures.

Figures R18 and R19. The runs are made by tests/faults/fifty_steps.py, here and in other processes.
The bits of a sum depend on how many threads share it, so that the number of devices of the program
is the same wherever bits are compared.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.faults.fifty_steps import BATCH, trained
from tests.running import ROOT, as_tests, environment

pytestmark = pytest.mark.full

# Allowed relative difference of losses between numbers of micro-batches.
SPLIT = 1e-6


def child(word, **changes):
    """Return the result of another process, with another hash seed, locale and time zone."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.faults.fifty_steps", word],
        cwd=ROOT,
        env=environment(PYTHONHASHSEED="7", TZ="Asia/Kathmandu", LC_ALL="C", **changes),
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def splits(word):
    """Return the masks and the loss of a step for each split of its batch over eight devices."""
    return child(word, **as_tests("--xla_force_host_platform_device_count=8"))


@pytest.fixture(scope="module")
def here():
    return trained(workers=0, threads=1)


def test_fifty_steps_learn_something(here):
    assert len(here["losses"]) == 50
    assert np.mean(here["losses"][-10:]) < np.mean(here["losses"][:10]) - 0.05


@pytest.mark.parametrize("workers, threads", [(0, 1), (0, 8), (2, 3)])
def test_two_runs_are_equal_to_the_bit(here, workers, threads):
    again = trained(workers=workers, threads=threads)
    assert again == here


@pytest.mark.slow
def test_another_process_comes_to_the_same_bits(here):
    """By default tests/resume compares processes, by whole checkpoints."""
    assert child("train", **as_tests()) == here


def test_another_seed_comes_to_other_bits(here):
    again = trained(workers=0, threads=1, seed=1)
    assert again["state"] != here["state"] and again["batches"] != here["batches"]


@pytest.mark.parametrize(
    "word, count", [("some", 2), pytest.param("all", 6, marks=pytest.mark.slow)]
)
def test_micro_batches_and_devices_change_neither_masks_nor_loss(word, count):
    steps = splits(word)
    assert len(steps) == count
    whole = steps["1 parts on 1"]
    hidden = np.array(whole["hidden"])
    assert hidden.shape == (BATCH, 12) and (hidden.sum(1) == 9).all()
    assert len({row.tobytes() for row in hidden}) > BATCH // 2
    for name, split in steps.items():
        np.testing.assert_array_equal(split["hidden"], hidden, err_msg=name)
        assert abs(split["loss"] / whole["loss"] - 1) < SPLIT, name
    print({name: f"{split['loss'] / whole['loss'] - 1:.1e}" for name, split in steps.items()})
