"""Several processes as one program: joining, waiting for each other, stopping at the same step."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from maskmim.errors import STUCK, UserError, first_line
from maskmim.runtime import activity

# Nodes of a large job start minutes apart: images are pulled, file systems are slow.
JOIN_SECONDS = 1800
# One process may read the checksums of a large checkpoint while the others wait.
VOTE_SECONDS = 1800
AUTO = "auto"
_votes = itertools.count()


FLAGS = {
    "coordinator": "HOST:PORT: address of process 0, or auto to ask the cluster",
    "processes": "N: number of processes",
    "process": "I: index of this process, from 0",
}


class JoinError(UserError, ValueError):
    """Processes that cannot become one program."""


class DeviceError(UserError, RuntimeError):
    """Devices that were asked for and are not here."""


class MissingProcesses(UserError, TimeoutError):
    """Processes that did not reach a barrier in time; exit code STUCK."""

    exit_code = STUCK


class Rendezvous(NamedTuple):
    """Where processes meet: the coordinator's address, their number, and this process's index."""

    coordinator: str
    processes: int
    process: int


def detect_launcher(environment: Mapping[str, str] = os.environ) -> str:
    """Return the launcher that started several processes, by its variables; '' for one process.

    Knows SLURM (inside srun), Open MPI, and TPU slices of several hosts (GKE, and Cloud TPU VMs
    whose runtime names the workers).
    """
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return "SLURM"
    if int(environment.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        return "Open MPI"
    if "," in environment.get("TPU_WORKER_HOSTNAMES", ""):
        return "TPU workers"
    if int(environment.get("MEGASCALE_NUM_SLICES", "1")) > 1:
        return "TPU slices"
    return ""


def parse_rendezvous(
    coordinator: str | None, processes: str | None, process: str | None
) -> Rendezvous | None:
    """Return what the flags --coordinator, --processes and --process say; None without any.

    --coordinator auto alone asks the cluster, as on Cloud TPU VMs, and fails where there is none.
    Raises JoinError where a flag is missing, is not a number, or the index is not below the count.
    """
    flags = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    if not any(flags.values()):
        return None
    if coordinator == AUTO and not (processes or process):
        return Rendezvous(AUTO, 0, 0)
    missing = [name for name, value in flags.items() if value is None]
    if missing:
        raise JoinError(f"{', '.join(missing)} missing: give all of {', '.join(flags)}")
    if not (processes.isdigit() and process.isdigit() and int(process) < int(processes)):
        raise JoinError(
            f"--process {process} of --processes {processes}: numbers from 0 to one below the count"
        )
    if not re.fullmatch(r"\[?[^\s]+\]?:\d+", coordinator):
        raise JoinError(
            f"--coordinator {coordinator!r}: give an address with a port, as 10.0.0.1:4321"
        )
    return Rendezvous(coordinator, int(processes), int(process))


def join(rendezvous: Rendezvous | None, *, seconds: int = JOIN_SECONDS) -> None:
    """Join the processes of a launch into one program; do nothing for a single process.

    rendezvous: from flags; None asks the launcher, see `detect_launcher`.
    Call it before anything touches a device, and `check_devices` after it. Raises JoinError where
    the processes do not find each other within `seconds`.
    """
    launcher = detect_launcher()
    if (rendezvous is None and not launcher) or jax.distributed.is_initialized():
        return
    arguments = {}
    if rendezvous is not None and rendezvous.coordinator != AUTO:
        arguments = {
            "coordinator_address": rendezvous.coordinator,
            "num_processes": rendezvous.processes,
            "process_id": rendezvous.process,
        }
    # jax would take SIGTERM for its preemption service, which `StopVote` replaces.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**arguments, initialization_timeout=seconds)
    except Exception as error:  # gRPC, sockets and parsers of environments raise many kinds
        who = (
            f"process {rendezvous.process} of {rendezvous.processes} at {rendezvous.coordinator}"
            if arguments
            else f"processes started by {launcher or 'a cluster that jax could find'}"
        )
        raise JoinError(f"{who} did not become one program: {first_line(error)}") from error
    if process_index():
        activity.stop()  # process 0 tells what all do


def check_devices() -> None:
    """Open this process's devices; raise DeviceError where jax finds none of those asked for.

    Call it after `join`.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = jax.config.jax_platforms
        said = first_line(error).partition(" (set JAX_PLATFORMS")[0] if str(error) else ""
        reason = f" ({said})" if said else ""
        if not asked:
            raise DeviceError(f"jax finds no device{reason}") from error
        kind = asked.partition(",")[0].strip().lower()
        package = {"cuda": "jax[cuda13]", "gpu": "jax[cuda13]", "tpu": "jax[tpu]"}.get(kind)
        install = f'; pip install -U "{package}" brings what {kind} needs' if package else ""
        raise DeviceError(
            f"JAX_PLATFORMS={asked}: jax finds no such devices here{reason}. Unset it to take what "
            f"is here, or set JAX_PLATFORMS=cpu{install}"
        ) from error


def process_index() -> int:
    """Return the index of this process; asks no device, so any thread may call it at any time."""
    return jax._src.distributed.global_state.process_id


def print_once(text: str) -> None:
    """Print a text in the main process only; ignore a closed stdout."""
    if is_main():
        with contextlib.suppress(OSError):
            print(text, flush=True)


def is_main() -> bool:
    """Return whether this process writes logs, pictures and results, which are written once."""
    return jax.process_index() == 0


def barrier(name: str, *, seconds: float) -> None:
    """Wait until every process has reached this barrier.

    name: of the barrier, not used before. Raises MissingProcesses with those that did not come.
    jax's public waits have no time-out; this one asks its coordination service.
    """
    if jax.process_count() == 1:
        return
    try:
        coordination_client().wait_at_barrier(name, int(seconds * 1000))
    except Exception as error:
        late = late_processes(str(error))
        who = f"process {', '.join(late)}" if late else "some process"
        raise MissingProcesses(f"{who} did not come to {name!r} within {seconds:.0f} s") from error


def coordination_client() -> Any:
    """Return the client of jax's coordination service; jax has no public name for it."""
    return jax._src.distributed.global_state.client


def is_distributed() -> bool:
    """Return whether the program has several processes; asks no device, so any thread may call."""
    return jax._src.distributed.global_state.num_processes > 1


def all_true(value: bool, *, seconds: float = VOTE_SECONDS) -> bool:
    """Return whether a value is true in all processes; each must call this.

    Raises MissingProcesses with those that did not call within `seconds`.
    """
    if jax.process_count() == 1:
        return value
    name = f"vote {next(_votes)}"
    coordination_client().key_value_set(f"{name}/{jax.process_index()}", str(bool(value)))
    barrier(name, seconds=seconds)
    return all(vote == "True" for _, vote in coordination_client().key_value_dir_get(name))


def late_processes(message: str) -> list[str]:
    """Return the indices of the processes that an error of the coordination service calls late."""
    _, _, names = message.partition("timed out task names:\n")
    words = names.partition("\n\n")[0].split()
    return [word.rpartition(":")[2] for word in words if re.fullmatch(r"(.*task:)?\d+", word)]


class SingleProcessVote:
    """The `StopVote` of a single process: its vote counts at once."""

    def poll(self, stop: bool) -> bool:
        """Return `stop`."""
        return stop


class StopVote:
    """Whether any process wants to stop, known to all of them at the same step.

    At each step every process casts its vote and reads the result of the step before: the devices
    take the maximum while they work, so that no process waits.
    """

    def __init__(self, mesh: Mesh):
        self._sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._any = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._local_devices = len(self._sharding.addressable_devices)
        self._previous: jax.Array | None = None

    def poll(self, stop: bool) -> bool:
        """Cast this process's vote; return whether any process voted to stop a step earlier."""
        votes = np.full(self._local_devices, stop, np.int32)
        any_stop = self._previous is not None and bool(self._previous)
        self._previous = self._any(jax.make_array_from_process_local_data(self._sharding, votes))
        return any_stop


def make_stop_vote(mesh: Mesh) -> StopVote | SingleProcessVote:
    """Return how the processes of this program agree on stopping."""
    return SingleProcessVote() if jax.process_count() == 1 else StopVote(mesh)
