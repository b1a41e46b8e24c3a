"""Makes ArrayRecord shards from images in folders, tar files, zip files, or from ImageNet's files.

  python -m maskmim.convert --source folder:/my/photos --out /my/shards --short-side 256
  python -m maskmim.convert --source labelled:/my/classes.tar --out /my/shards
  python -m maskmim.convert --source imagenet:/my/downloads --out /my/imagenet
  python -m maskmim.convert --verify /my/imagenet

folder: any nesting, no labels; labelled: one folder per class; both take a folder, a plain tar
file or a zip file. imagenet: a folder with ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and
the devkit, see docs/data.md; its shards have the tags train and val. Archives are read in place,
nothing is extracted. Every image is decoded once, to keep out those that cannot be read (listed in
bad_files.txt beside the shards). Without --short-side the bytes of the files are kept as they are;
with it, larger images are reduced and stored as JPEG.

Shards are written whole or not at all: stopped at any moment, even killed, the same command goes
on after the last whole shard and ends with the same bytes. --verify reads all shards and compares
their sha256 with the index; delete damaged ones, and the command that made them makes them again.
Read them with config.data.train = brick("maskmim.data.array_record.shards", path="/my/shards").
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from maskmim import errors
from maskmim.data.shard_writer import (
    BAD,
    KINDS,
    Settings,
    convert,
    fingerprint,
    open_source,
    remarks,
    verify,
)
from maskmim.runtime import exits


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _options(argv)
    if options.verify:
        return verify(options.verify, options.workers)
    splits = open_source(options.source, options.only, options.val_labels)
    for line in remarks(options.source, splits):
        print(line)
    settings = Settings(
        fingerprint(splits), options.short_side, options.quality, options.shard_size
    )
    done = convert(splits, options.out, settings, workers=options.workers)
    for tag in splits:
        shards = [each.shard for each in done if each.shard.tag == tag]
        count, size = sum(s.records for s in shards), sum(s.size for s in shards)
        of_split = f"{tag} " if tag else ""
        print(f"{options.out}: {of_split}{count:,} images in {len(shards)} shards, {size:,} bytes")
    bad = sum(len(each.bad) for each in done)
    if bad:
        print(f"{bad} files cannot be read and were left out: see {options.out / BAD}")
    for tag in splits:
        choice = f', tag="{tag}"' if tag else ""
        print(f'read with brick("maskmim.data.array_record.shards", path="{options.out}"{choice})')
    return errors.DONE


def _options(argv: list[str] | None) -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--source", default="", help=KINDS)
    parser.add_argument("--out", type=Path, help="folder to write")
    parser.add_argument("--only", default="", help="train or val, of imagenet")
    parser.add_argument("--val-labels", default="", help="file of 'image, WordNet id', of imagenet")
    parser.add_argument("--short-side", type=_positive, default=0, help="pixels; default: keep")
    parser.add_argument("--quality", type=_positive, default=90, help="of JPEG, where reduced")
    parser.add_argument("--shard-size", type=_positive, default=4096, help="images in a shard")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4
    parser.add_argument("--workers", type=_positive, default=cores, help="threads")
    parser.add_argument("--verify", type=Path, metavar="DIR", help="check the shards of a folder")
    options = parser.parse_args(argv)
    if not options.verify and not (options.source and options.out):
        parser.error("give --source and --out, or --verify DIR")
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 is needed, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(exits.run(main))
