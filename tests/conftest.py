"""What holds for all tests."""

import gc
import os

# Tests compile much and compute little. What they start as a command is compiled as for users, see
# tests/running.py. jax reads this when it is imported.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def programs_are_forgotten():
    """Every program that XLA compiles on a CPU maps memory of its own, and Linux allows a process
    65,530 maps: one that runs some hundred tests would crash in the compiler."""
    yield
    jax.clear_caches()
    gc.collect()
