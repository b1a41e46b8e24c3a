"""Measure the images of a folder and print the flags of a config that suit them.

examples:
  python -m maskmim.stats --path /data/scans
  python -m maskmim.stats --path /data/scans --images 2000
  python -m maskmim.stats --config folder:path=/data/scans
  python -m maskmim.stats --config multimae:path=/data/rooms --stream depth

--path takes a folder (with all its subfolders), a tar or zip file, or a folder of shards that
maskmim.convert wrote; --config measures what `data.train` of a config reads, of several streams
the main one or --stream. Every image is read
as its file stores it: type, channels, range, percentiles, mean and standard deviation per channel,
sizes, how many are grey, and which cannot be read. Memory does not grow with the number of images.

The flags at the end go behind a command of maskmim.train or maskmim.plan: channels, range of
values, mean and std of the values in [0, 1] that the network gets. Images of more than 8 bits get
maskmim.data.decode.scaled, which keeps their precision.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from maskmim import errors
from maskmim.config.bricks import bind
from maskmim.config.command_line import Parser, positive_number, thread_count
from maskmim.config.load import load
from maskmim.data import archives, array_record, folder
from maskmim.data.image_check import OneStream
from maskmim.data.image_stats import ImageStats, Measured, measure
from maskmim.data.records import BadImage, Records, TooManyBadImages
from maskmim.data.shard_writer import map_in_order
from maskmim.data.stats_report import flags, report
from maskmim.errors import count_of
from maskmim.runtime import exits
from maskmim.training.build import spec_of


class StatsError(errors.UserError, ValueError):
    """Options of the command that do not fit."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(argv)
    if bool(options.path) == bool(options.config):
        raise StatsError("give --path DIR, or --config NAME, one of them: --help shows the use")
    if options.stream and not options.config:
        raise StatsError("--stream names a stream of a config: give --config NAME too")
    by_config = bool(options.config)
    records = open_config(options.config, options.stream) if by_config else open_path(options.path)
    stats = measure_records(records, limit=options.images, workers=options.workers)
    if not stats.images:
        name, reason = stats.bad[0]
        raise TooManyBadImages(
            f"none of {count_of(len(stats.bad), 'image')} can be read; {name}: {reason}"
        )
    print(report(stats, options.path or f"data.train of {options.config}"))
    lines, remarks = flags(stats)
    print("\nFlags for these images, to add to the command of a training:\n")
    print(" \\\n".join(f"  {_of_stream(line, options.stream)}" for line in lines))
    for remark in remarks:
        print(f"\nnote: {remark}")
    return errors.DONE


def open_path(path: str) -> Records:
    """Open a folder, an archive or a folder of shards. Raises DataError where there is none."""
    where = Path(path).expanduser()
    if where.is_file() and where.suffix.lower() in folder.SUFFIXES:
        raise StatsError(f"--path {path} is one image: give the folder that holds it")
    if where.is_file():
        return archives.unlabelled(path=path)
    if (where / "index.json").is_file() and any(where.glob("*.array_record")):
        return array_record.shards(path=path)
    return folder.unlabelled(path=path)


def open_config(name: str, stream: str = "") -> Records:
    """Open `data.train` of a config, of several streams one.

    stream: its name, '' for the main one. Raises StatsError where it gives no images.
    """
    config = load(name)
    spec = spec_of(config)
    chosen = stream or spec.stream
    if chosen not in spec.arrays:
        raise StatsError(
            f"--stream {stream}: the config has no such stream; it has {', '.join(spec.arrays)}"
        )
    if spec.arrays[chosen].classes:
        raise StatsError(f"{chosen} has indices of classes, which have no range or mean to measure")
    if not stream and chosen != "image":
        raise StatsError(f"--config {name} reads {chosen}, not images, which this command measures")
    records = bind(config.data.train)()
    if chosen != spec.stream and not isinstance(records[0].encoded, Mapping):
        raise StatsError(
            f"--stream {stream}: data.train holds one image each, of which data.augment makes this "
            "stream; there are no files of it to measure"
        )
    return OneStream(records, chosen)


def _of_stream(flag: str, stream: str) -> str:
    """Return a flag for the main stream as one for another stream."""
    if not stream:
        return flag
    flag = flag.replace("--config.input.", f"--config.input.streams.{stream}.")
    return flag.replace(".decode.", f".decode.streams.{stream}.", 1)


def measure_records(records: Records, *, limit: int = 0, workers: int = 1) -> ImageStats:
    """Measure records, in threads, with a progress bar on stderr.

    limit: measure this many, evenly spread; 0 for all.
    """
    count = min(limit, len(records)) if limit else len(records)
    indices = np.linspace(0, len(records) - 1, count).round().astype(int).tolist()
    stats = ImageStats()

    def read(index: int) -> Measured | BadImage:
        try:
            return measure(records[index].encoded)
        except BadImage as error:
            return error

    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(
            total=count,
            unit=" images",
            desc="measure",
            mininterval=0.2 if sys.stderr.isatty() else 30,
        ) as bar,
    ):
        results = map_in_order(pool, read, indices, 2 * workers)
        for index, result in zip(indices, results, strict=True):
            bar.update()
            if isinstance(result, BadImage):
                stats.bad.append((records.name(index), result.reason))
            else:
                stats.add(result)
    return stats


def _parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument("--path", default="", help="folder, archive or shards to measure")
    parser.add_argument(
        "--config", default="", metavar="NAME[:ARGUMENT]", help="measure data.train of a config"
    )
    parser.add_argument(
        "--stream", default="", metavar="NAME", help="of a config with several streams, this one"
    )
    parser.add_argument(
        "--images",
        type=positive_number,
        default=0,
        help="measure this many, evenly spread; default: all",
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4
    parser.add_argument(
        "--workers",
        type=thread_count,
        default=cores,
        help="threads, 1 to 1024; default: the number of cores",
    )
    return parser


if __name__ == "__main__":
    sys.exit(exits.run(main))
