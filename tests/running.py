"""Running the commands in processes of their own, compiled as for users or as tests compile."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What tests/conftest.py sets for the process of the tests. XLA's newer emitters of fused operations
# take two thirds of a compilation on the CPU; the flag chooses those that it had before.
LESS_OPTIMISED = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
PROGRAMS = "JAX_COMPILATION_CACHE_DIR"  # a folder for one run of the tests, and all its workers
KEEP_ALL = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
# The smallest network of a ViT config, as flags: 16 tokens, one block of width 16.
SMALL = (
    "--config.input.size=16,16",
    "--config.model.variant=1x16x2",
    "--config.model.patch=4,4",
    "--config.model.decoder_width=16",
)
# Threads that wait for each other in a loop take the cores from the other workers.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def command(module: str, *arguments: str) -> list[str]:
    """The words of `python -m maskmim.<module>`."""
    return [sys.executable, "-m", f"maskmim.{module}", *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    """This environment on the CPU, with the project importable, and nothing of tests/conftest.py:
    what is started compiles as for users."""
    found = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    for name in (*LESS_OPTIMISED, PROGRAMS, *KEEP_ALL, *ONE_THREAD):
        found.pop(name, None)
    found["XLA_FLAGS"] = found.get("XLA_FLAGS", "").replace(FLAGS, "").strip()
    return {**found, **changes}


def as_tests(flags: str = "") -> dict[str, str]:
    """Changes of `environment` with which a process compiles as the tests do, whose programs it
    uses; with further XLA flags."""
    kept = {name: os.environ[name] for name in (PROGRAMS, *KEEP_ALL) if name in os.environ}
    quick = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}"}
    return {**LESS_OPTIMISED, **kept, **quick}


def run(module: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, output captured."""
    return subprocess.run(
        command(module, *arguments),
        cwd=ROOT,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def start(module: str, *arguments: str, output: Path) -> subprocess.Popen:
    """Starts a command with its output in a file."""
    with output.open("ab") as stream:
        return subprocess.Popen(
            command(module, *arguments),
            cwd=ROOT,
            env=environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )


def run_on_eight_devices(script: str, *, seconds: float) -> str:
    """Run a script in a process with eight CPU devices; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(**as_tests("--xla_force_host_platform_device_count=8")),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
