"""A SLURM cluster of two nodes on this machine, in its own folder, for the time of a test."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.running import ROOT, environment

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
# jax gives the coordinator's address as the first node's name: these are 127.0.0.1 and 127.0.0.2,
# written as one number each, since SLURM takes a name with dots for an address.
NODES = ("2130706433", "2130706434")
# A job that was requeued waits until its old credential cannot be used any more; 120 s by default.
CREDENTIAL_SECONDS = 10
# That a node claims to have; nothing is behind them.
GPUS = 4

CONFIG = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={credential}
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
JobRequeue=1
KillWait=30
MinJobAge=3600
FirstJobId={first}
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=DEFAULT CPUs=2 Gres=gpu:{gpus}
NodeName=213070643[3-4] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}]
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=300 MaxTime=INFINITE State=UP
PartitionName=rude Nodes=ALL PriorityTier=1 GraceTime=0 MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=off MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Return why a cluster cannot run here; '' where it can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=path()) is None]
    if absent:
        return f"{', '.join(absent)} not installed: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "slurmd needs root to start jobs"


def path() -> str:
    """Return PATH with the folders of daemons, which a user's may lack."""
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def ports(count: int) -> list[int]:
    """Return `count` successive free ports; raise RuntimeError where there are none."""
    for first in range(17000, 31000, 100):
        probes = [socket.socket() for _ in range(count)]
        try:
            for offset, probe in enumerate(probes):
                probe.bind(("127.0.0.1", first + offset))
            return [first + offset for offset in range(count)]
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    raise RuntimeError("no free ports from 17000 to 31000")


class Cluster:
    """Commands of a running SLURM."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.began = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds since the daemons were started."""
        return time.monotonic() - self.began

    def run(self, *words: object, **changes: str) -> str:
        """Return what a command of SLURM prints; raise CalledProcessError where it fails."""
        changes = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path(), **changes}
        return subprocess.run(
            [str(word) for word in words],
            cwd=ROOT,
            env=environment(**changes),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def submit(self, *words: object, **changes: str) -> str:
        """Submit a job with these words of sbatch; return its number."""
        return self.run("sbatch", "--parsable", *words, **changes).strip()

    def job(self, number: str) -> dict[str, str]:
        """Return the fields that SLURM shows of a job, or of one task of an array ('7_1')."""
        shown = self.run("scontrol", "--oneliner", "show", "job", number)
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def wait(self, number: str, *states: str, seconds: float = 900) -> dict[str, str]:
        """Wait until a job is in one of the states; return its fields, or raise TimeoutError."""
        deadline = time.monotonic() + seconds
        while (job := self.job(number))["JobState"] not in states:
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {number} is not {' or '.join(states)}: {job}")
            time.sleep(0.5)
        return job


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Run a SLURM whose partition `high` preempts `low`, with time to save, and `rude`, with none.

    Its daemons end with the block. folder: short, since the socket's path in it may have 107 bytes.
    """
    (folder / "state").mkdir()
    folder.chmod(0o755)  # munged wants a socket that everybody reaches
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    facts = {"folder": folder, "host": socket.gethostname().partition(".")[0]}
    facts |= {"credential": CREDENTIAL_SECONDS, "gpus": GPUS}
    # jax makes its coordinator's port of the job's number: another cluster here has other numbers.
    facts["first"] = secrets.randbelow(50_000) + 1
    config.write_text(CONFIG.format(**facts, ports=ports(3)))
    for index in range(GPUS):
        (folder / f"gpu{index}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
    names = {name: folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
    files = [f"--{name}{'' if name == 'socket' else '-file'}={at}" for name, at in names.items()]
    started = Cluster(folder)
    with ExitStack() as stack:
        stack.enter_context(daemon(folder, "munged", "--foreground", f"--key-file={key}", *files))
        for_seconds(30, names["socket"].exists)
        stack.enter_context(daemon(folder, "slurmctld", "-D", "-f", str(config)))
        for node in NODES:
            stack.enter_context(daemon(folder, "slurmd", "-D", "-f", str(config), "-N", node))
        for_seconds(60, lambda: idle(started) == set(NODES))
        try:
            yield started
        finally:
            started.run("scancel", "--user=root")
            for_seconds(60, lambda: not started.run("squeue", "--noheader"))


def idle(started: Cluster) -> set[str]:
    """Return the nodes that wait for jobs."""
    try:
        return set(started.run("sinfo", "--Node", "--noheader", "-t", "idle", "-o", "%N").split())
    except subprocess.CalledProcessError:  # the controller does not listen yet
        return set()


def for_seconds(seconds: float, true) -> None:
    """Wait until something is true; raise TimeoutError where it does not become so."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true within {seconds} s: {true}")
        time.sleep(0.2)


@contextmanager
def daemon(folder: Path, program: str, *words: str) -> Iterator[None]:
    """Run a daemon until the block, or this process, ends; its output goes to a file."""
    name = "-".join([program, *(word for word in words if word in NODES)])
    with (folder / f"{name}.log").open("w") as log:
        started = subprocess.Popen(
            ["setpriv", "--pdeathsig=TERM", program, *words],
            env=environment(PATH=path()),
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            started.terminate()
            try:
                started.wait(timeout=30)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()
