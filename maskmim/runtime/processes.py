"""Several processes as one program: who they are, waiting for each other, stopping together."""

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

# Nodes of a large job begin minutes apart: images are pulled, file systems are slow.
JOIN_SECONDS = 1800
# One process may read the checksums of a large checkpoint while the others wait.
EVERY_SECONDS = 1800
AUTO = "auto"
_votes = itertools.count()


FLAGS = {
    "coordinator": "HOST:PORT of process 0 of several, or auto to ask the cluster",
    "processes": "how many there are",
    "process": "which of them this is, from 0",
}


class HostsError(UserError, ValueError):
    """Processes that cannot become one program."""


class Missing(UserError, TimeoutError):
    """Processes that did not come to where the others wait; exit code STUCK."""

    exit_code = STUCK


class Place(NamedTuple):
    """Where a process meets the others: the coordinator's address, how many, and which it is."""

    coordinator: str
    processes: int
    process: int


def started_by(environment: Mapping[str, str] = os.environ) -> str:
    """The launcher that started several processes, by its variables; '' for a single process.

    Known are SLURM (inside srun), Open MPI, and TPU slices of several hosts (GKE, and Cloud TPU VMs
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


def place_of(coordinator: str | None, processes: str | None, process: str | None) -> Place | None:
    """The place that the flags --coordinator, --processes and --process give; None without any.

    --coordinator auto alone asks the cluster, as on Cloud TPU VMs, and fails where there is none.
    Raises HostsError where one of them is missing or no number, or the process is not among them.
    """
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    if not any(given.values()):
        return None
    if coordinator == AUTO and not (processes or process):
        return Place(AUTO, 0, 0)
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise HostsError(f"{', '.join(missing)} missing: {', '.join(given)} belong together")
    if not (processes.isdigit() and process.isdigit() and int(process) < int(processes)):
        raise HostsError(
            f"--process {process} of --processes {processes}: numbers from 0 to one below the count"
        )
    if not re.fullmatch(r"\[?[^\s]+\]?:\d+", coordinator):
        raise HostsError(f"--coordinator {coordinator!r}: an address with a port, as 10.0.0.1:4321")
    return Place(coordinator, int(processes), int(process))


def join(place: Place | None, *, seconds: int = JOIN_SECONDS) -> None:
    """Makes the processes of a launch one program; nothing to do for a single process.

    place: from flags; None asks the launcher, see `started_by`. Must come before anything touches a
    device. Raises HostsError where they do not find each other within `seconds`.
    """
    launcher = started_by()
    if (place is None and not launcher) or jax.distributed.is_initialized():
        return
    given = {}
    if place is not None and place.coordinator != AUTO:
        given = {
            "coordinator_address": place.coordinator,
            "num_processes": place.processes,
            "process_id": place.process,
        }
    # jax would take SIGTERM away from `stopping`, for a service of its own; see `Agreement`.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**given, initialization_timeout=seconds)
    except Exception as error:  # gRPC, sockets and parsers of environments raise many kinds
        who = (
            f"process {place.process} of {place.processes} at {place.coordinator}"
            if given
            else (f"processes started by {launcher or 'a cluster that jax could find'}")
        )
        raise HostsError(f"{who} did not become one program: {first_line(error)}") from error


def own_number() -> int:
    """Which of the processes this is; asks no device, so that any thread may ask at any time."""
    return jax._src.distributed.global_state.process_id


def say(text: str) -> None:
    """Prints a text once, whatever the number of processes; nothing where nobody reads it."""
    if leads():
        with contextlib.suppress(OSError):
            print(text, flush=True)


def leads() -> bool:
    """Whether this process writes what is written once: logs, pictures, results."""
    return jax.process_index() == 0


def barrier(name: str, *, seconds: float) -> None:
    """Waits until every process has come here.

    name: of this meeting, not used before. Raises Missing with the processes that did not come.
    jax's public waits have no limit; this one asks its coordination service.
    """
    if jax.process_count() == 1:
        return
    try:
        client().wait_at_barrier(name, int(seconds * 1000))
    except Exception as error:
        late = missing_in(str(error))
        who = f"process {', '.join(late)}" if late else "some process"
        raise Missing(f"{who} did not come to {name!r} within {seconds:.0f} s") from error


def client() -> Any:
    """What speaks to jax's coordination service; jax has no public name for it."""
    return jax._src.distributed.global_state.client


def several() -> bool:
    """Whether this program has several processes; asks no device, so that any thread may ask."""
    return jax._src.distributed.global_state.num_processes > 1


def every(true: bool, *, seconds: float = EVERY_SECONDS) -> bool:
    """Whether something is true for all processes; each must ask.

    Raises Missing with the processes that did not ask within `seconds`.
    """
    if jax.process_count() == 1:
        return true
    name = f"vote {next(_votes)}"
    client().key_value_set(f"{name}/{jax.process_index()}", str(bool(true)))
    barrier(name, seconds=seconds)
    return all(vote == "True" for _, vote in client().key_value_dir_get(name))


def missing_in(message: str) -> list[str]:
    """The numbers of the processes that the coordination service names as late."""
    _, _, names = message.partition("timed out task names:\n")
    words = names.partition("\n\n")[0].split()
    return [word.rpartition(":")[2] for word in words if re.fullmatch(r"(.*task:)?\d+", word)]


class Alone:
    """What `Agreement` is for a single process: its own wish counts at once."""

    def ask(self, wish: bool) -> bool:
        """The wish."""
        return wish


class Agreement:
    """Whether any process wants to stop, known to all of them at the same step.

    Each step every process says its own wish and hears what the others said one step before: the
    devices compare it while they work, so that nobody waits.
    """

    def __init__(self, mesh: Mesh):
        every = PartitionSpec(mesh.axis_names)
        self._place = NamedSharding(mesh, every)
        self._any = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._own = len(self._place.addressable_devices)
        self._before: jax.Array | None = None

    def ask(self, wish: bool) -> bool:
        """Says this process's wish; True where some process had one at the step before."""
        own = np.full(self._own, wish, np.int32)
        heard = self._before is not None and bool(self._before)
        self._before = self._any(jax.make_array_from_process_local_data(self._place, own))
        return heard


def agreement(mesh: Mesh) -> Agreement | Alone:
    """How the processes of this program agree on stopping."""
    return Alone() if jax.process_count() == 1 else Agreement(mesh)
