"""One training at a time in a work directory: the file `training.lock` names its holder.

It needs no flock, which network file systems may lack or keep on each host for itself. Of several
processes that start at once, one makes the file. A holder on this machine is alive while its
process is. One on another host, in another container or before a reboot cannot be asked: it renews
the time of the file every BEAT_SECONDS, and counts as dead once that stays the same for
PATIENCE_SECONDS. A holder that was taken for dead finds the name of another in the file, and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from maskmim.errors import NO_ROOM, STORAGE, USAGE, UserError

NAME = "training.lock"
BEAT_SECONDS = 5.0
FIRST_BEAT_SECONDS = 1.0
PATIENCE_SECONDS = 40.0
# A time in the file that is this old needs no watching. It may be that of another host's clock.
OLD_SECONDS = 600.0
# A process that made the file looks again after this time: another may have taken it away, which
# judged the file before it.
SETTLE_SECONDS = 0.2


class InUse(UserError):
    """A work directory that another training holds."""


class Unusable(UserError):
    """A work directory that cannot be made or written."""


class Holder(NamedTuple):
    """The process that holds a work directory.

    token:   of this lock alone. machine: of its kernel and process ids, see `machine`.
    started: start of the process in the kernel's clock, '' if unknown.
    since:   when it took the lock, in seconds since 1970.
    """

    token: str
    host: str
    process: int
    machine: str
    started: str
    since: float

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.process} on {self.host}, since {since}"


class Seen(NamedTuple):
    """A lock file as it was read: its text and its time in nanoseconds."""

    text: str
    changed: int


def make_workdir(workdir: Path) -> None:
    """Make a work directory and the folders above it. Raises Unusable where that is impossible."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(workdir, error) from error


def unusable(workdir: Path, error: OSError) -> Unusable:
    """Return the error for a work directory that refuses what a training needs."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        file = next((p for p in (workdir, *workdir.parents) if is_file(p)), workdir)
        reason = f"{file} is a file, not a folder. Choose another --workdir"
    elif error.errno in NO_ROOM:
        reason = f"{error.strerror}. Make room, or choose another --workdir"
    else:
        where = Path(error.filename or workdir)
        # Not the lock file itself, of which nobody knows.
        where = workdir if where.parent == workdir else where
        reason = (
            f"{error.strerror or error} ({where}). Choose another --workdir, or let this user "
            "write there"
        )
    found = Unusable(f"the work directory {workdir} cannot be used: {reason}")
    found.exit_code = STORAGE if error.errno in NO_ROOM else USAGE
    return found


def is_file(path: Path) -> bool:
    """Return whether a path leads to something that is not a folder; False where it is hidden."""
    with contextlib.suppress(OSError):
        return path.exists() and not path.is_dir()
    return False


def this_process() -> Holder:
    """Return this process as the holder of a new lock."""
    process = os.getpid()
    started = process_status(process)[1]
    return Holder(
        uuid.uuid4().hex, socket.gethostname(), process, machine(), started, round(time.time(), 1)
    )


def machine() -> str:
    """Return what names this host, its boot and its table of process ids."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def process_status(process: int) -> tuple[str, str]:
    """Return the state letter and the start time of a process here, ('', '') if unknown."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""


def is_running(holder: Holder) -> bool | None:
    """Return whether a holder still runs; None where that cannot be known from here."""
    if holder.machine != machine():
        return None
    try:
        os.kill(holder.process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # a process of another user
        pass
    state, started = process_status(holder.process)
    if not (state and holder.started):
        return None
    return started == holder.started and state not in "ZX"


def parse_holder(text: str) -> Holder | None:
    """Return the holder that the text of a lock file names; None for a damaged one."""
    try:
        row = json.loads(text)
        return Holder(**{name: kind(row[name]) for name, kind in _KINDS.items()})
    except (ValueError, KeyError, TypeError):
        return None


_KINDS: dict[str, Callable[[Any], Any]] = {
    "token": str,
    "host": str,
    "process": int,
    "machine": str,
    "started": str,
    "since": float,
}


class WorkdirLock:
    """The lock of a work directory; `acquire` takes it, `release` gives it back.

    lost:     called with a message, in a thread, when another training took the lock of this one,
              which it took for dead; must end the process.
    say:      receives sentences for people.
    patience: how long a holder elsewhere may leave its file as it is. beat: between renewals.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        lost: Callable[[str], object],
        say: Callable[[str], object],
        patience: float = PATIENCE_SECONDS,
        beat: float = BEAT_SECONDS,
    ):
        self.path = Path(workdir) / NAME
        self.holder = this_process()
        self._lost, self._say = lost, say
        self._patience, self._beat = patience, beat
        self._part = self.path.with_name(f".{NAME}.{self.holder.token}")
        self._done = threading.Event()

    def acquire(self) -> None:
        """Take the lock, or that of a dead process.

        Raises InUse where another training holds it, Unusable where the folder cannot be written.
        """
        try:
            self._take()
        except OSError as error:
            raise unusable(self.path.parent, error) from error
        finally:
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)
        threading.Thread(target=self._renew, name="workdir lock", daemon=True).start()

    def release(self) -> None:
        """Give the lock back; do nothing where it is not held."""
        self._done.set()
        with contextlib.suppress(OSError):
            if self._is_mine():
                self.path.unlink()

    def _take(self) -> None:
        while True:
            self._write_part()
            if self._make():
                break
            stale = self._wait_for_stale()
            if stale is not None and self._remove(stale):
                who = parse_holder(stale.text) or "an unknown process"
                self._say(f"taking over the work directory from {who}: it runs no more")
        time.sleep(SETTLE_SECONDS)
        if not self._is_mine():
            raise InUse(self._refusal(look(self.path)))

    def _write_part(self) -> None:
        self._part.write_text(json.dumps(self.holder._asdict()) + "\n", encoding="utf-8")

    def _make(self) -> bool:
        """Make the lock file from the finished one, unless it exists; return whether it is ours.

        A hard link appears whole and once, on NFS too, where its answer may be lost.
        """
        try:
            os.link(self._part, self.path)
            return True
        except FileExistsError:
            return self._is_mine()
        except OSError:  # a file system without hard links
            try:
                with self.path.open("x", encoding="utf-8") as file:
                    file.write(self._part.read_text(encoding="utf-8"))
            except FileExistsError:
                return False
            return True

    def _is_mine(self) -> bool:
        seen = look(self.path)
        holder = parse_holder(seen.text) if seen else None
        return holder is not None and holder.token == self.holder.token

    def _wait_for_stale(self) -> Seen | None:
        """Return the lock file once its holder is known to be dead; None where it is gone.

        Raises InUse where the holder is alive.
        """
        first = look(self.path)
        if first is None:
            return None
        holder = parse_holder(first.text)
        alive = is_running(holder) if holder else None
        if alive:
            raise InUse(self._refusal(first))
        age = (self._part.stat().st_mtime_ns - first.changed) / 1e9
        if alive is False or age > OLD_SECONDS:
            return first
        self._say(
            f"{self.path} is held by {holder or 'an unknown process'}: waiting up to "
            f"{self._patience:.0f} s to see whether it still runs"
        )
        until = time.monotonic() + self._patience
        while time.monotonic() < until:
            time.sleep(self._beat / 10)
            now = look(self.path)
            if now is None:
                return None
            if now != first:
                raise InUse(self._refusal(now))
        return first

    def _remove(self, stale: Seen) -> bool:
        """Remove a lock file that was found stale; put it back where it is another one now."""
        aside = self.path.with_name(f"{self._part.name}.stale")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return False
        same = look(aside) == stale
        if not same:
            with contextlib.suppress(OSError):
                os.link(aside, self.path)
        aside.unlink(missing_ok=True)
        return same

    def _refusal(self, seen: Seen | None) -> str:
        who = parse_holder(seen.text) if seen else None
        return (
            f"{self.path.parent} is in use: another training holds it ({who or 'just started'}). "
            "Wait until it ends or stop it, or choose another --workdir; if it runs no more, "
            f"remove {self.path}"
        )

    def _renew(self) -> None:
        """Renew the time of the file, and end where another process holds it."""
        wait = min(FIRST_BEAT_SECONDS, self._beat)
        while not self._done.wait(wait):
            wait = self._beat
            seen = look(self.path)
            with contextlib.suppress(OSError):
                if seen is None:
                    self._restore()
                elif (holder := parse_holder(seen.text)) is None or self._is_mine():
                    os.utime(self.path)
                elif not self._done.is_set():
                    self._lost(
                        f"{holder} has taken over the work directory {self.path.parent}, as this "
                        "process did not answer for a while: it ends without saving"
                    )
                    return

    def _restore(self) -> None:
        """Make the lock file again that somebody removed."""
        self._write_part()
        try:
            self._make()
        finally:
            self._part.unlink(missing_ok=True)


def look(path: Path) -> Seen | None:
    """Return a lock file as it is now; None where there is none."""
    try:
        # Opening asks a network file system for the newest state; a stat alone may be cached.
        with path.open(encoding="utf-8", errors="replace") as file:
            return Seen(file.read(), os.fstat(file.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Seen(f"{error}", 0)
