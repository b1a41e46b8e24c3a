"""Write images into ArrayRecord shards: whole shards or none, resumable, verifiable."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import simplejpeg
from tqdm import tqdm

from maskmim import errors
from maskmim.data import archives, folder, imagenet
from maskmim.data.decode import decode
from maskmim.data.records import BadImage, DataError, Records, manifest_digest
from maskmim.data.shard_format import (
    PARTIAL,
    Index,
    Shard,
    damaged,
    fill,
    read_index,
    seal,
    write_index,
    write_text,
)
from maskmim.data.transforms import resize

FOLDERS = {"folder": folder.unlabelled, "labelled": folder.labelled}
ARCHIVES = {"folder": archives.unlabelled, "labelled": archives.labelled}
KINDS = "folder:PATH, labelled:PATH or imagenet:PATH"
PROGRESS = "progress.json"
BAD = "bad_files.txt"


class Damaged(DataError):
    """Shards are not what the index says."""

    exit_code = errors.BAD_DATA


@dataclass(frozen=True)
class Settings:
    """What decides the content of the shards. short_side 0 keeps the files' bytes."""

    fingerprint: str
    short_side: int
    quality: int
    shard_size: int


class Finished(NamedTuple):
    """A whole shard, and (name, reason) of the bad files among its images."""

    shard: Shard
    bad: tuple[tuple[str, str], ...]


class Task(NamedTuple):
    """A shard to be made: file name, tag, the records and which of them."""

    file: str
    tag: str
    records: Records
    places: range


def open_source(source: str, only: str = "", val_labels: str = "") -> dict[str, Records]:
    """The records of 'folder:PATH' and 'labelled:PATH' under the tag '', or ImageNet's splits.

    Raises DataError for anything else.
    """
    kind, colon, path = source.partition(":")
    if colon and kind == "imagenet":
        return imagenet.splits(Path(path).expanduser(), only, val_labels)
    if not colon or kind not in FOLDERS:
        raise DataError(f"--source {source!r}: write {KINDS}")
    if only or val_labels:
        raise DataError(f"--only and --val-labels are for --source imagenet:PATH, not {source!r}")
    openers = ARCHIVES if Path(path).expanduser().is_file() else FOLDERS
    return {"": openers[kind](path=path)}


def fingerprint(splits: Mapping[str, Records]) -> str:
    """One digest of all splits: that of the records where there is one without a tag."""
    if list(splits) == [""]:
        return splits[""].fingerprint
    return manifest_digest((f"{tag} {r.fingerprint}", len(r)) for tag, r in splits.items())


def remarks(source: str, splits: Mapping[str, Records]) -> Iterator[str]:
    """What people should know of a source before it is converted."""
    for tag, records in splits.items():
        passed = records.passed if isinstance(records, archives.ArchiveRecords) else 0
        if passed:
            yield f"{passed} entries are links or have names that lead elsewhere: passed over"
        expected = imagenet.PUBLISHED[tag] if source.startswith("imagenet:") else len(records)
        if len(records) != expected:
            yield f"{tag}: {len(records):,} images, ImageNet-1k has {expected:,}"


def convert(
    splits: Mapping[str, Records], out: Path, settings: Settings, *, workers: int
) -> list[Finished]:
    """Makes the shards that are missing, then the index; returns all of them in order.

    Raises DataError where `out` holds shards of other images or settings, another process writes
    there or no image can be read, and NoRoom where the disk is full.
    """
    out.mkdir(parents=True, exist_ok=True)
    with only_writer(out):
        done = _begun(out, settings)
        tasks = list(tasks_of(splits, settings.shard_size))
        with (
            ThreadPoolExecutor(workers) as pool,
            tqdm(
                total=sum(len(task.places) for task in tasks),
                initial=sum(len(task.places) for task in tasks if task.file in done),
                unit=" images",
                desc="convert",
                mininterval=0.2 if sys.stderr.isatty() else 30,
            ) as bar,
        ):
            _make([t for t in tasks if t.file not in done], done, out, settings, pool, workers, bar)
        finished = [done[task.file] for task in tasks]
        bad = [pair for each in finished for pair in each.bad]
        if bad:
            write_text(out / BAD, "".join(f"{name}\t{reason}\n" for name, reason in bad))
        for tag, records in splits.items():
            if not any(each.shard.records for each in finished if each.shard.tag == tag):
                raise DataError(f"none of the {len(records)} images can be read: see {out / BAD}")
        labels = next(iter(splits.values())).labels
        write_index(out, Index(dict(labels), tuple(each.shard for each in finished)))
    return finished


@contextlib.contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Keeps a second process from writing to the same folder; DataError there."""
    handle = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DataError(f"another process converts into {out}: wait for it") from None
    finally:
        os.close(handle)


def tasks_of(splits: Mapping[str, Records], shard_size: int) -> Iterator[Task]:
    """The shards that make up some splits."""
    for tag, records in splits.items():
        for number, start in enumerate(range(0, len(records), shard_size)):
            places = range(start, min(start + shard_size, len(records)))
            yield Task(f"{tag or 'images'}-{number:05d}.array_record", tag, records, places)


def _begun(out: Path, settings: Settings) -> dict[str, Finished]:
    """The whole shards that are there, by file name, of earlier runs with the same settings."""
    for partial in out.glob(f"*{PARTIAL}"):
        partial.unlink()
    path = out / PROGRESS
    if not path.exists():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    if stored["settings"] != asdict(settings):
        raise DataError(
            f"{out} holds shards of other images or with another --short-side, --quality or "
            "--shard-size: choose another --out, or delete that folder"
        )
    found = [
        Finished(Shard(**each["shard"]), tuple((name, reason) for name, reason in each["bad"]))
        for each in stored["finished"]
    ]
    there = {path.name: path.stat().st_size for path in out.glob("*.array_record")}
    return {f.shard.file: f for f in found if there.get(f.shard.file) == f.shard.size}


def _make(
    tasks: Sequence[Task],
    done: dict[str, Finished],
    out: Path,
    settings: Settings,
    pool: ThreadPoolExecutor,
    workers: int,
    bar: tqdm,
) -> None:
    """Makes shards and adds them to `done` and to the file of progress.

    The checksum of one shard is taken while the next one is written.
    """

    def note(sealing: Future[Shard], bad: list[tuple[str, str]]) -> None:
        shard = sealing.result()
        done[shard.file] = Finished(shard, tuple(bad))
        finished = [{"shard": asdict(f.shard), "bad": f.bad} for _, f in sorted(done.items())]
        write_text(out / PROGRESS, json.dumps({"settings": asdict(settings), "finished": finished}))

    last: tuple[Future[Shard], list[tuple[str, str]]] | None = None
    try:
        for task in tasks:
            bad: list[tuple[str, str]] = []
            path = out / task.file
            entries = fill(path, _readable(task, settings, pool, 4 * workers, bad, bar))
            if last:
                note(*last)
            last = pool.submit(seal, path, entries, task.tag), bad
    finally:  # also where the next one fails: this one is whole
        if last:
            note(*last)


def _readable(
    task: Task,
    settings: Settings,
    pool: ThreadPoolExecutor,
    ahead: int,
    bad: list[tuple[str, str]],
    bar: tqdm,
) -> Iterator[tuple[str, dict[str, int], bytes]]:
    """(name, labels, bytes) of the images that can be read; the others are added to `bad`."""
    records = task.records

    def one(index: int) -> tuple[dict[str, int], bytes] | BadImage:
        try:
            example = records[index]
            return example.labels, stored_bytes(example.encoded, settings)
        except BadImage as error:
            return error

    for index, found in zip(task.places, in_order(pool, one, task.places, ahead), strict=True):
        bar.update()
        if isinstance(found, BadImage):
            bad.append((" ".join(records.name(index).split()), found.reason))
        else:
            yield records.name(index), *found


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: Sequence[Any], ahead: int
) -> Iterator[Any]:
    """function(item) of each item, worked off by a pool that is `ahead` items in front at most."""
    waiting: deque[Future] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def stored_bytes(encoded: bytes, settings: Settings) -> bytes:
    """The file's bytes, or a smaller JPEG where its short side is too long; BadImage if unreadable.

    A reduced image is RGB and upright; one that is small enough keeps its bytes.
    """
    pixels = decode(encoded, channels=3)
    rows, columns = pixels.shape[:2]
    factor = settings.short_side / min(rows, columns)
    if not 0 < factor < 1:
        return encoded
    small = resize(pixels, (max(1, round(rows * factor)), max(1, round(columns * factor))))
    return simplejpeg.encode_jpeg(small, quality=settings.quality, colorsubsampling="420")


def verify(out: Path, workers: int) -> int:
    """Compares every shard of a folder with its checksum; Damaged where one differs."""
    shards = read_index(out).shards
    with ThreadPoolExecutor(workers) as pool:
        found = in_order(pool, lambda shard: damaged(out, shard), shards, 2 * workers)
        reasons = list(tqdm(found, total=len(shards), unit=" shards", desc="verify", disable=None))
    wrong = [f"{s.file}: {why}" for s, why in zip(shards, reasons, strict=True) if why]
    if wrong:
        listed = "".join(f"\n  {line}" for line in wrong)
        raise Damaged(
            f"{len(wrong)} of {len(shards)} shards in {out} are damaged: delete them and run the "
            f"command that made them again{listed}"
        )
    unknown = sum(not shard.sha256 for shard in shards)
    print(f"{out}: {len(shards) - unknown} of {len(shards)} shards are as they were written")
    if unknown:
        print(f"{unknown} shards were only looked for: their index holds no checksums")
    return errors.DONE
