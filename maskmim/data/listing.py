"""The files below a folder: all of them, those of some kinds, and what is left out."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from maskmim.data.records import DataError
from maskmim.runtime import processes

# Folders that operating systems and storage devices add; they hold no data of the user.
JUNK = {
    "__MACOSX",
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
}
SHOWN = 5  # names in an error
KINDS_SHOWN = 10
_GONE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)
_told: set[str] = set()


class Tree(NamedTuple):
    """What lies below a folder, as paths below it with '/' as separator.

    files:    (path, size in bytes), sorted. broken: links that lead nowhere.
    special:  pipes, sockets and devices, which are never opened, as reading them may wait forever.
    repeated: links to folders that are listed already.
    """

    files: list[tuple[str, int]]
    broken: list[str]
    special: list[str]
    repeated: list[str]


class Choice(NamedTuple):
    """The files of some kinds, sorted, and {what: how many} of everything else."""

    files: list[tuple[str, int]]
    left_out: Counter[str]


def existing_folder(path: str) -> Path:
    """Return the folder at a path, with ~ expanded. Raises DataError where it does not exist."""
    if not path:
        raise DataError(
            "no folder is named: set the path of the data, as in --config folder:/data/photos or "
            "--config.data.train.path=/data/photos"
        )
    root = Path(path).expanduser()
    try:
        mode = root.stat().st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in _GONE:
            raise DataError(
                f"the folder {path!r} cannot be entered ({error.strerror}): allow this user to "
                "read it, or set the path to another folder"
            ) from None
        raise DataError(
            f"the folder {path!r} does not exist: set the path to a folder with data"
        ) from None
    if not stat.S_ISDIR(mode):
        raise DataError(f"the folder {path!r} is a file: set the path to a folder with data")
    return root


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Turn an error of the file system into a DataError that names the file or folder."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or 'the data'} cannot be read ({error.strerror or error}): allow "
            "this user to read it, or set the path to other data"
        ) from error


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is skipped: a leading dot, or a folder in JUNK."""
    return name.startswith(".") or name in JUNK


def walk(root: Path) -> Tree:
    """Return what lies below a folder, except what `is_hidden`; enter each folder once.

    Enters links to folders last, so that a folder keeps its own name where a link leads to it.
    Raises DataError naming the folders that cannot be read.
    """
    tree = Tree([], [], [], [])
    unreadable: dict[str, str] = {}
    entered: set[str] = set()
    folders, links = deque([""]), deque[str]()
    while folders or links:
        below = folders.popleft() if folders else links.popleft()
        real = os.path.realpath(os.path.join(root, below))
        if real in entered:
            tree.repeated.append(below)
            continue
        entered.add(real)
        try:
            with os.scandir(os.path.join(root, below)) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            unreadable[below or "."] = error.strerror or str(error)
            continue
        for entry in found:
            if not is_hidden(entry.name):
                name = f"{below}/{entry.name}" if below else entry.name
                _sort_in(entry, name, tree, folders, links, unreadable)
    if unreadable:
        raise DataError(_describe_unreadable(root, unreadable))
    tree.files.sort()
    return tree


def _sort_in(
    entry: os.DirEntry[str],
    name: str,
    tree: Tree,
    folders: deque[str],
    links: deque[str],
    unreadable: dict[str, str],
) -> None:
    """Put one entry of a folder where it belongs."""
    try:
        linked = entry.is_symlink()
        status = entry.stat()
    except OSError as error:
        if error.errno in _GONE:
            tree.broken.append(name)
        elif linked:
            unreadable[name] = error.strerror or str(error)
        else:  # names can be listed, but nothing in the folder can be opened
            unreadable[name.rpartition("/")[0] or "."] = error.strerror or str(error)
        return
    if stat.S_ISDIR(status.st_mode):
        (links if linked else folders).append(name)
    elif stat.S_ISREG(status.st_mode):
        tree.files.append((name, status.st_size))
    else:
        tree.special.append(name)


def _describe_unreadable(root: Path, unreadable: Mapping[str, str]) -> str:
    count = len(unreadable)
    named = ", ".join(
        f"{printable(name)} ({why})" for name, why in sorted(unreadable.items())[:SHOWN]
    )
    more = f" and {count - SHOWN} more" if count > SHOWN else ""
    folders, their = ("1 folder", "its") if count == 1 else (f"{count} folders", "their")
    return (
        f"{folders} in {printable(str(root))} cannot be read, and {their} files would be missing: "
        f"{named}{more}; allow this user to read and enter them (chmod u+rx), or move them away"
    )


def choose(tree: Tree, suffixes: Sequence[str]) -> Choice:
    """Return the files with one of the suffixes, in any case, and the count of all others.

    A broken link with such a suffix is chosen too, with size 0, and becomes a bad file.
    """
    ends = tuple(suffixes)
    files = [file for file in tree.files if file[0].lower().endswith(ends)]
    others = (name for name, _ in tree.files if not name.lower().endswith(ends))
    left_out = count_kinds(others)
    lost = [name for name in tree.broken if name.lower().endswith(ends)]
    counts = {
        "broken link(s)": len(tree.broken) - len(lost),
        "pipe(s), socket(s) or device(s)": len(tree.special),
        "link(s) to folder(s) that are listed already": len(tree.repeated),
    }
    left_out.update({what: count for what, count in counts.items() if count})
    return Choice(sorted([*files, *((name, 0) for name in lost)]), left_out)


def count_kinds(names: Iterable[str]) -> Counter[str]:
    """Return {suffix: number of files}, 'file(s) without a suffix' for those that have none."""
    endings = (os.path.splitext(name)[1].lower() for name in names)
    return Counter(printable(ending) or "file(s) without a suffix" for ending in endings)


def counts_text(counts: Mapping[str, int]) -> str:
    """Return '12 .heic, 3 .pdf', the most frequent first, at most KINDS_SHOWN kinds.

    The (s) of a kind becomes an s, or nothing for a count of 1.
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [
        f"{count:,} {what.replace('(s)', '' if count == 1 else 's')}"
        for what, count in ordered[:KINDS_SHOWN]
    ]
    rest = sum(count for _, count in ordered[KINDS_SHOWN:])
    return ", ".join([*shown, f"{rest:,} of other kinds"] if rest else shown)


def names_text(names: Sequence[str], shown: int = SHOWN) -> str:
    """Return some names as text: 'a, b, c and 9 more'."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(printable, names[:shown])) + more


def tell_once(text: str) -> None:
    """Print a text to stderr the first time that this program has it, in the main process only."""
    if text in _told:
        return
    _told.add(text)
    # Asking for the index of a process opens the devices, which commands without a network leave.
    if jax.distributed.is_initialized() and not processes.is_main():
        return
    with contextlib.suppress(OSError):
        print(f"maskmim: {text}", file=sys.stderr, flush=True)


def tell_left_out(where: Path, left_out: Mapping[str, int]) -> None:
    """Print once what was left out of a folder or an archive; print nothing for nothing."""
    if left_out:
        tell_once(f"{printable(str(where))}: left out {counts_text(left_out)}")


def printable(name: str) -> str:
    """Return a file name as text that any UTF-8 terminal prints, in one line."""
    return " ".join(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").split())
