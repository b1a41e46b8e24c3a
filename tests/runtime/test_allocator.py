"""Freed memory stays with the process: counted by page faults, in processes of their own."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from maskmim.runtime import allocator
from maskmim.runtime.allocator import keep_freed_memory
from tests.running import ROOT

# Writes to every page of 64 MB, or of 2.2 GB to one in 256, and frees them, in threads one after
# another; prints the page faults of every use but the first.
PROGRAM = """
import resource, sys, threading
import numpy as np
from maskmim.runtime.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory({})
def use():
    np.empty(int(sys.argv[2]) << 20, np.uint8)[:: int(sys.argv[3])] = 1
def in_a_thread():
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
in_a_thread()
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    in_a_thread()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how, megabytes, every):
    command = [sys.executable, "-c", PROGRAM, how, str(megabytes), str(every)]
    # NumPy would ask for huge pages, which have few faults.
    environment = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    # The least of the uses: the system may take pages back once in between.
    return min(map(int, done.stdout.split()))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.skipif(
    any(Path(device).exists() for device in allocator.ACCELERATORS),
    reason="an accelerator is here",
)
@pytest.mark.parametrize("memory", [(64, 1 << 12), (2200, 1 << 20)], ids=["64 MB", "2.2 GB"])
def test_memory_is_asked_for_once(memory):
    """Where the system gives huge pages unasked, one fault serves 512 pages: compare orders."""
    given_back, kept = faults("given back", *memory), faults("kept", *memory)
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
