"""Convert images in folders, tar files or zip files, or ImageNet's files, to ArrayRecord shards.

examples:
  python -m maskmim.convert --source folder:/my/photos --out /my/shards --short-side 256
  python -m maskmim.convert --source labelled:/my/classes.tar --out /my/shards
  python -m maskmim.convert --source imagenet:/my/downloads --out /my/imagenet
  python -m maskmim.convert --verify /my/imagenet

sources:
  folder:PATH    images at any depth, without labels
  labelled:PATH  one folder per class
  imagenet:PATH  a folder with ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the devkit, see
                 docs/data.md; its shards have the tags train and val
PATH of the first two is a folder, an uncompressed tar file or a zip file. Archives are read in
place, nothing is extracted.

Every image is decoded once: unreadable ones are left out and listed in bad_files.txt beside the
shards. Without --short-side each file is stored unchanged; with it, larger images are reduced and
stored as JPEG.

Shards are written atomically. After an interruption, even a kill, the same command continues after
the last finished shard and produces the same bytes. --verify reads all shards and compares their
sha256 with the index; delete the damaged ones and run the command that made them again.
To read the shards: config.data.train = brick("maskmim.data.array_record.shards", path="/my/shards")
"""

from __future__ import annotations

import argparse
import os
import sys

from maskmim import errors
from maskmim.config.command_line import Parser, path, positive_number, thread_count
from maskmim.data.shard_writer import (
    BAD,
    KINDS,
    Settings,
    convert,
    digest_of_splits,
    open_source,
    source_remarks,
    verify,
)
from maskmim.errors import count_of
from maskmim.runtime import exits


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parse_options(argv)
    if options.verify:
        return verify(options.verify, options.workers)
    splits = open_source(options.source, options.only, options.val_labels)
    for line in source_remarks(options.source, splits):
        print(line)
    settings = Settings(
        digest_of_splits(splits), options.short_side, options.quality, options.shard_size
    )
    finished = convert(splits, options.out, settings, workers=options.workers)
    for tag in splits:
        shards = [item.shard for item in finished if item.shard.tag == tag]
        count, size = sum(s.records for s in shards), sum(s.size for s in shards)
        images, files = count_of(count, "image"), count_of(len(shards), "shard")
        split = f"{tag} " if tag else ""
        print(f"{options.out}: {split}{images} in {files}, {size:,} bytes")
    bad = sum(len(item.bad) for item in finished)
    if bad:
        print(f"left out: {count_of(bad, 'unreadable file')}, see {options.out / BAD}")
    for tag in splits:
        argument = f', tag="{tag}"' if tag else ""
        print(
            f'read with brick("maskmim.data.array_record.shards", path="{options.out}"{argument})'
        )
    return errors.DONE


def _parse_options(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--source", default="", help=KINDS)
    parser.add_argument("--out", type=path, help="folder to write")
    parser.add_argument("--only", default="", help="convert only train or only val of imagenet")
    parser.add_argument(
        "--val-labels", default="", help="file of 'image, WordNet id' lines for imagenet"
    )
    parser.add_argument(
        "--short-side",
        type=positive_number,
        default=0,
        help="reduce to this many pixels; default: keep files unchanged",
    )
    parser.add_argument(
        "--quality",
        type=positive_number,
        default=90,
        help="JPEG quality of reduced images; default: 90",
    )
    parser.add_argument(
        "--shard-size", type=positive_number, default=4096, help="images per shard; default: 4096"
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4
    parser.add_argument(
        "--workers",
        type=thread_count,
        default=cores,
        help="threads; default: the number of cores",
    )
    parser.add_argument("--verify", type=path, metavar="DIR", help="check the shards in a folder")
    options = parser.parse_args(argv)
    if not options.verify and not (options.source and options.out):
        parser.error("give --source and --out, or --verify DIR")
    return options


if __name__ == "__main__":
    sys.exit(exits.run(main))
