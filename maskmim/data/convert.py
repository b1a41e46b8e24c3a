"""Makes ArrayRecord shards from a folder of images.

  python -m maskmim.data.convert --source folder:/my/photos --out /my/shards --short-side 256
  python -m maskmim.data.convert --source labelled:/my/classes --out /my/shards

folder: any nesting, no labels; labelled: one subfolder per class. Every image is decoded once, to
keep out those that cannot be read (listed in bad_files.txt beside the shards). Without --short-side
the bytes of the files are kept as they are; with it, larger images are reduced and stored as JPEG.
Shards are written whole or not at all; the same command again continues after the last whole shard.
Read them with config.data.train = brick("maskmim.data.array_record.shards", path="/my/shards").
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import simplejpeg
from tqdm import tqdm

from maskmim import exits
from maskmim.data import folder
from maskmim.data.decode import decode
from maskmim.data.records import BadImage, DataError, Records
from maskmim.data.shard_format import Index, Shard, write_index, write_shard, write_text
from maskmim.data.transforms import resize

SOURCES = {"folder": folder.unlabelled, "labelled": folder.labelled}
PROGRESS = "progress.json"
BAD = "bad_files.txt"


@dataclass(frozen=True)
class Settings:
    """What decides the content of the shards. short_side 0 keeps the files' bytes."""

    fingerprint: str
    short_side: int
    quality: int
    shard_size: int


@dataclass
class Done:
    """What is written so far: the settings, whole shards in order, (name, reason) of bad files."""

    settings: Settings
    shards: list[Shard]
    bad: list[tuple[str, str]]


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _options(argv)
    records = open_source(options.source)
    settings = Settings(
        records.fingerprint, options.short_side, options.quality, options.shard_size
    )
    done = convert(records, options.out, settings, workers=options.workers)
    count = sum(shard.records for shard in done.shards)
    size = sum((options.out / shard.file).stat().st_size for shard in done.shards)
    print(f"{options.out}: {count:,} images in {len(done.shards)} shards, {size:,} bytes")
    if done.bad:
        print(f"{len(done.bad)} files cannot be read and were left out: see {options.out / BAD}")
    print(f'read them with brick("maskmim.data.array_record.shards", path="{options.out}")')
    return exits.DONE


def _options(argv: list[str] | None) -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--source", required=True, help="folder:PATH or labelled:PATH")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--short-side", type=_positive, default=0, help="pixels; default: keep")
    parser.add_argument("--quality", type=_positive, default=90, help="of JPEG, where reduced")
    parser.add_argument("--shard-size", type=_positive, default=4096, help="images in a shard")
    parser.add_argument("--workers", type=_positive, default=4, help="threads")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 is needed, not {text!r}")
    return int(text)


def open_source(source: str) -> Records:
    """The records of 'folder:PATH' or 'labelled:PATH'; DataError for anything else."""
    kind, colon, path = source.partition(":")
    if not colon or kind not in SOURCES:
        raise DataError(f"--source {source!r}: write folder:PATH or labelled:PATH")
    return SOURCES[kind](path=path)


def convert(records: Records, out: Path, settings: Settings, *, workers: int) -> Done:
    """Writes the shards that are missing, then the index; returns what there is.

    Raises DataError where `out` holds shards of other images or settings, or no image can be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    done = _begun(out, settings)
    starts = range(0, len(records), settings.shard_size)
    first = starts[len(done.shards)] if len(done.shards) < len(starts) else len(records)
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=len(records), initial=first, unit="images", desc="convert") as bar,
    ):
        for start in starts[len(done.shards) :]:
            places = range(start, min(start + settings.shard_size, len(records)))
            bad: list[tuple[str, str]] = []
            good = _readable(records, places, settings, pool, 8 * workers, bad, bar)
            shard = write_shard(out / f"images-{len(done.shards):05d}.array_record", good)
            done.shards.append(shard)
            done.bad += bad
            write_text(out / PROGRESS, json.dumps(asdict(done)))
    if done.bad:
        write_text(out / BAD, "".join(f"{name}\t{reason}\n" for name, reason in done.bad))
    if not any(shard.records for shard in done.shards):
        raise DataError(f"none of the {len(records)} images can be read: see {out / BAD}")
    write_index(out, Index(dict(records.labels), tuple(done.shards)))
    return done


def _begun(out: Path, settings: Settings) -> Done:
    """What an earlier run with the same settings has finished, nothing if there was none."""
    path = out / PROGRESS
    if not path.exists():
        return Done(settings, [], [])
    stored = json.loads(path.read_text(encoding="utf-8"))
    if Settings(**stored["settings"]) != settings:
        raise DataError(
            f"{out} holds shards of other images or with another --short-side, --quality or "
            "--shard-size: choose another --out, or delete that folder"
        )
    shards = [Shard(**shard) for shard in stored["shards"]]
    whole = [shard for shard in shards if (out / shard.file).is_file()]
    if whole != shards:
        raise DataError(f"{out} lacks shards that were finished: delete that folder and begin anew")
    return Done(settings, shards, [(name, reason) for name, reason in stored["bad"]])


def _readable(
    records: Records,
    places: range,
    settings: Settings,
    pool: ThreadPoolExecutor,
    ahead: int,
    bad: list[tuple[str, str]],
    bar: tqdm,
) -> Iterator[tuple[str, dict[str, int], bytes]]:
    """(name, labels, bytes) of the images that can be read; the others are added to `bad`."""

    def one(index: int) -> tuple[dict[str, int], bytes] | BadImage:
        try:
            example = records[index]
            return example.labels, stored_bytes(example.encoded, settings)
        except BadImage as error:
            return error

    for start in range(0, len(places), ahead):
        chunk = places[start : start + ahead]
        for index, found in zip(chunk, pool.map(one, chunk), strict=True):
            bar.update()
            if isinstance(found, BadImage):
                bad.append((" ".join(records.name(index).split()), found.reason))
            else:
                yield records.name(index), *found


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


if __name__ == "__main__":
    sys.exit(exits.run(main))
