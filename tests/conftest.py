"""What holds for all tests.

Tests compile much and compute little, so that what they cost is what compiling costs. What they
start as a command is compiled as for users, see tests/running.py.
"""

import gc
import os
import shutil
import subprocess
import sys
import tempfile

from tests.running import FLAGS, KEEP_ALL, LESS_OPTIMISED, ONE_THREAD, PROGRAMS, ROOT
from tests.torchvision_operators import DefineBeforeImport

sys.meta_path.insert(0, DefineBeforeImport())
gc.disable()  # until all tests are imported
GARBAGE = 100_000, 20, 100  # objects, and collections, before a collection of each generation


def knows(flags: str) -> bool:
    """Whether this jaxlib has the XLA flags; it ends a process that gives it others."""
    ask = "from jaxlib import xla_client; xla_client.CompileOptions()"
    words = [sys.executable, "-c", ask]
    done = subprocess.run(words, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True)
    return done.returncode == 0


def set_environment() -> str | None:
    """Sets what jax reads when it is imported; returns a folder that ends with the tests.

    A folder of programs that the user names is used, and left: the next run finds its programs.
    """
    os.environ.update({**LESS_OPTIMISED, **KEEP_ALL, **ONE_THREAD, **os.environ})
    os.environ["MASKMIM_CACHE"] = ""  # no test takes the scores of another run
    given = os.environ.get("XLA_FLAGS", "")
    if FLAGS not in given and knows(FLAGS):  # a worker is given them
        os.environ["XLA_FLAGS"] = f"{given} {FLAGS}"
    if PROGRAMS in os.environ:
        return None
    os.environ[PROGRAMS] = tempfile.mkdtemp(prefix="maskmim-programs-")
    return os.environ[PROGRAMS]


OWN_PROGRAMS = set_environment()

import jax  # noqa: E402
import pytest  # noqa: E402

pytest_plugins = ["tests.costs"]

LONGEST = (
    "runtime/test_several_processes.py",
    "resume/test_resume.py",
    "test_catalogue.py",
    "masks/test_every_sampler.py",
    "runtime/test_shutdown.py",
    "teachers/test_pretrained.py",
    "methods/test_masked.py",
    "checkpoints/test_golden.py",
    "training/test_meshes.py",
    "commands/test_evaluate.py",
    "models/test_masked_vit.py",
)


def pytest_collection_modifyitems(config, items):
    """Leaves slow tests out of `-m full`, also in files that are full, and puts the files that
    take longest first: a worker takes the next file when it is free."""
    if config.option.markexpr == "full":
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish():
    """What is imported stays, and need not be looked at whenever Python collects garbage: while
    jax traces, by default after every 700 objects that are made, a fifth of the time."""
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def pytest_unconfigure():
    """Removes the programs of this run."""
    if OWN_PROGRAMS:
        shutil.rmtree(OWN_PROGRAMS, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def programs_are_forgotten():
    """Every program that XLA compiles on a CPU maps memory of its own, and Linux allows a process
    65,530 maps: one that runs some hundred tests would crash in the compiler."""
    yield
    jax.clear_caches()
    gc.collect()
