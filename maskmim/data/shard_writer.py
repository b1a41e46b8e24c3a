"""Conversion of images to ArrayRecord shards: atomic, resumable and verifiable."""

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
from maskmim.data.decode import decode, read_deep_image
from maskmim.data.records import BadImage, DataError, Records, manifest_digest
from maskmim.data.resize import resize
from maskmim.data.shard_format import (
    PART,
    Index,
    Shard,
    fill_shard,
    find_damage,
    read_index,
    seal_shard,
    write_index,
    write_text,
)
from maskmim.errors import count_of

FOLDERS = {"folder": folder.unlabelled, "labelled": folder.labelled}
ARCHIVES = {"folder": archives.unlabelled, "labelled": archives.labelled}
KINDS = "folder:PATH, labelled:PATH or imagenet:PATH"
PROGRESS = "progress.json"
BAD = "bad_files.txt"


class Damaged(DataError):
    """Shards differ from their index."""

    exit_code = errors.BAD_DATA


@dataclass(frozen=True)
class Settings:
    """The settings that determine the content of the shards; short_side 0 keeps files unchanged."""

    fingerprint: str
    short_side: int
    quality: int
    shard_size: int


class Finished(NamedTuple):
    """A finished shard, and (name, reason) of the bad files among its images."""

    shard: Shard
    bad: tuple[tuple[str, str], ...]


class Task(NamedTuple):
    """A shard to write: file name, tag, the records and the indices of those it takes."""

    file: str
    tag: str
    records: Records
    indices: range


def open_source(source: str, only: str = "", val_labels: str = "") -> dict[str, Records]:
    """Open 'folder:PATH' or 'labelled:PATH', under the tag '', or ImageNet's splits by their names.

    Raises DataError for anything else.
    """
    kind, colon, path = source.partition(":")
    if colon and kind == "imagenet":
        return imagenet.open_splits(Path(path).expanduser(), only, val_labels)
    if not colon or kind not in FOLDERS:
        raise DataError(f"--source {source!r} is not a known source: write {KINDS}")
    if only or val_labels:
        raise DataError(f"--only and --val-labels are for --source imagenet:PATH, not {source!r}")
    openers = ARCHIVES if Path(path).expanduser().is_file() else FOLDERS
    return {"": openers[kind](path=path)}


def digest_of_splits(splits: Mapping[str, Records]) -> str:
    """Return one digest for all splits, that of the records for one split without a tag."""
    if list(splits) == [""]:
        return splits[""].fingerprint
    return manifest_digest((f"{tag} {r.fingerprint}", len(r)) for tag, r in splits.items())


def source_remarks(source: str, splits: Mapping[str, Records]) -> Iterator[str]:
    """Yield lines about a source for the user: skipped entries, unexpected numbers of images."""
    for tag, records in splits.items():
        passed = records.passed if isinstance(records, archives.ArchiveRecords) else 0
        if passed:
            yield (
                f"{count_of(passed, 'entry', 'entries')} skipped: links, names that point outside "
                "the archive, or names that a later entry has too"
            )
        expected = imagenet.PUBLISHED[tag] if source.startswith("imagenet:") else len(records)
        if len(records) != expected:
            yield f"{tag}: {count_of(len(records), 'image')}, ImageNet-1k has {expected:,}"


def convert(
    splits: Mapping[str, Records], out: Path, settings: Settings, *, workers: int
) -> list[Finished]:
    """Write the missing shards, then the index; return all shards in order.

    Raises DataError where `out` holds shards of other images or settings, where another process
    writes to it, and where no image can be read; NoRoom where the disk is full.
    """
    out.mkdir(parents=True, exist_ok=True)
    with lock_folder(out):
        done = _finished_shards(out, settings)
        tasks = list(plan_shards(splits, settings.shard_size))
        with (
            ThreadPoolExecutor(workers) as pool,
            tqdm(
                total=sum(len(task.indices) for task in tasks),
                initial=sum(len(task.indices) for task in tasks if task.file in done),
                unit=" images",
                desc="convert",
                mininterval=0.2 if sys.stderr.isatty() else 30,
            ) as bar,
        ):
            missing = [task for task in tasks if task.file not in done]
            _write_shards(missing, done, out, settings, pool, workers, bar)
        finished = [done[task.file] for task in tasks]
        bad = [pair for item in finished for pair in item.bad]
        if bad:
            write_text(out / BAD, "".join(f"{name}\t{reason}\n" for name, reason in bad))
        for tag, records in splits.items():
            if not any(item.shard.records for item in finished if item.shard.tag == tag):
                raise DataError(f"none of the {len(records)} images can be read: see {out / BAD}")
        labels = next(iter(splits.values())).labels
        write_index(out, Index(dict(labels), tuple(item.shard for item in finished)))
    return finished


@contextlib.contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Lock a folder against a second process, which gets a DataError."""
    handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"another process writes into {out}: wait for it, or choose another --out"
            ) from None
        yield
    finally:
        os.close(handle)


def plan_shards(splits: Mapping[str, Records], shard_size: int) -> Iterator[Task]:
    """Yield the shards to write for some splits."""
    for tag, records in splits.items():
        for number, start in enumerate(range(0, len(records), shard_size)):
            indices = range(start, min(start + shard_size, len(records)))
            yield Task(f"{tag or 'images'}-{number:05d}.array_record", tag, records, indices)


def _finished_shards(out: Path, settings: Settings) -> dict[str, Finished]:
    """Delete part files; return the finished shards of earlier runs by file name.

    Raises DataError where those runs had other settings.
    """
    for part in out.glob(f"*{PART}"):
        part.unlink()
    path = out / PROGRESS
    if not path.exists():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    if stored["settings"] != asdict(settings):
        raise DataError(
            f"{out} holds shards of other images or with another --short-side, --quality or "
            "--shard-size: choose another --out, or delete that folder"
        )
    listed = [
        Finished(Shard(**item["shard"]), tuple((name, reason) for name, reason in item["bad"]))
        for item in stored["finished"]
    ]
    sizes = {path.name: path.stat().st_size for path in out.glob("*.array_record")}
    return {f.shard.file: f for f in listed if sizes.get(f.shard.file) == f.shard.size}


def _write_shards(
    tasks: Sequence[Task],
    done: dict[str, Finished],
    out: Path,
    settings: Settings,
    pool: ThreadPoolExecutor,
    workers: int,
    bar: tqdm,
) -> None:
    """Write shards and add them to `done` and to the progress file.

    The checksum of one shard is computed while the next one is written.
    """

    def record(sealing: Future[Shard], bad: list[tuple[str, str]]) -> None:
        shard = sealing.result()
        done[shard.file] = Finished(shard, tuple(bad))
        finished = [{"shard": asdict(f.shard), "bad": f.bad} for _, f in sorted(done.items())]
        write_text(out / PROGRESS, json.dumps({"settings": asdict(settings), "finished": finished}))

    last: tuple[Future[Shard], list[tuple[str, str]]] | None = None
    try:
        for task in tasks:
            bad: list[tuple[str, str]] = []
            path = out / task.file
            entries = fill_shard(path, _read_images(task, settings, pool, 4 * workers, bad, bar))
            if last:
                record(*last)
            last = pool.submit(seal_shard, path, entries, task.tag), bad
    finally:  # also where the next shard fails: this one is complete
        if last:
            record(*last)


def _read_images(
    task: Task,
    settings: Settings,
    pool: ThreadPoolExecutor,
    ahead: int,
    bad: list[tuple[str, str]],
    bar: tqdm,
) -> Iterator[tuple[str, dict[str, int], bytes]]:
    """Yield (name, labels, bytes) of the readable images; append the others to `bad`."""
    records = task.records

    def read(index: int) -> tuple[dict[str, int], bytes] | BadImage:
        try:
            example = records[index]
            return example.labels, reduce_image(example.encoded, settings)
        except BadImage as error:
            return error

    results = map_in_order(pool, read, task.indices, ahead)
    for index, result in zip(task.indices, results, strict=True):
        bar.update()
        if isinstance(result, BadImage):
            bad.append((" ".join(records.name(index).split()), result.reason))
        else:
            yield records.name(index), *result


def map_in_order(
    pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: Sequence[Any], ahead: int
) -> Iterator[Any]:
    """Yield function(item) for each item; a pool computes at most `ahead` items in advance."""
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


def reduce_image(encoded: bytes, settings: Settings) -> bytes:
    """Return the file's bytes, or a smaller JPEG where its short side is too long.

    A reduced image is RGB and upright. Images of more than 8 bits or of bands are never reduced:
    JPEG cannot hold them. Raises BadImage where the file cannot be read.
    """
    if read_deep_image(encoded, None) is not None:
        return encoded
    pixels = decode(encoded, channels=3)
    rows, columns = pixels.shape[:2]
    factor = settings.short_side / min(rows, columns)
    if not 0 < factor < 1:
        return encoded
    small = resize(pixels, (max(1, round(rows * factor)), max(1, round(columns * factor))))
    return simplejpeg.encode_jpeg(small, quality=settings.quality, colorsubsampling="420")


def verify(out: Path, workers: int) -> int:
    """Compare every shard of a folder with its checksum. Raises Damaged where one differs."""
    shards = read_index(out).shards
    with ThreadPoolExecutor(workers) as pool:
        results = map_in_order(pool, lambda shard: find_damage(out, shard), shards, 2 * workers)
        damage = list(tqdm(results, total=len(shards), unit=" shards", desc="verify", disable=None))
    lines = [f"\n  {s.file}: {fault}" for s, fault in zip(shards, damage, strict=True) if fault]
    if lines:
        raise Damaged(
            f"{len(lines)} of {len(shards)} shards in {out} are damaged: delete them and run the "
            f"command that made them again{''.join(lines)}"
        )
    unknown = sum(not shard.sha256 for shard in shards)
    print(f"{out}: {len(shards) - unknown} of {len(shards)} shards match their checksums")
    if unknown:
        print(f"not verified, as their index has no checksums: {count_of(unknown, 'shard')}")
    return errors.DONE
