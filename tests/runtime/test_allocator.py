"""Freed memory stays with the process: counted by page faults, in processes of their own."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from maskmim.runtime import allocator
from maskmim.runtime.allocator import keep_freed_memory
from tests.running import ROOT

# Fills and frees 64 MB in a thread twice, and prints the page faults of the second time.
PROGRAM = """
import resource, sys, threading
import numpy as np
from maskmim.runtime.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory({})
def use():
    np.ones(64 << 20, np.uint8)
def in_a_thread():
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
in_a_thread()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
in_a_thread()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    command = [sys.executable, "-c", PROGRAM, how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.skipif(
    any(Path(device).exists() for device in allocator.ACCELERATORS),
    reason="an accelerator is here",
)
def test_memory_is_asked_for_once():
    """Huge pages may serve 512 small ones with one fault, so only an order is compared."""
    given_back, kept = faults("given back"), faults("kept")
    assert given_back > 20 and kept < given_back / 2, (given_back, kept)


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_"])
def test_the_environment_chooses(name):
    assert not keep_freed_memory({name: "1"})


def test_other_libraries_and_accelerators_are_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(allocator, "ACCELERATORS", (str(tmp_path),))
    assert not keep_freed_memory({})
    monkeypatch.setattr(allocator, "ACCELERATORS", ())
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    assert not keep_freed_memory({})
