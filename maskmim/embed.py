"""Write the features of every file of a folder into one file.

examples:
  python -m maskmim.embed --source runs/quickstart --data folder:/my/photos --out features.npz
  python -m maskmim.embed --source runs/quickstart --data labelled:/my/classes.zip \\
      --out features.parquet --pooling class --layers=3,-1
  python -m maskmim.embed --source runs/quickstart --data run:test --out test.safetensors
  python -m maskmim.embed --source runs/videomae --data folder:/my/films --out films.npz \\
      --window 2 --stride 1

--data:
  folder:PATH    files at any depth, without labels
  labelled:PATH  one folder per class
  run:train, run:test  the data of the run's own evaluations, with their labels
PATH is a folder of what the model sees (pictures, videos or sounds), or a tar or zip file of
pictures. Files are decoded and cropped as the run's evaluations do.

Rows are in the order of the names. Files that cannot be read are left out and listed in
OUT.bad_files.txt. Memory is bounded by the batch, whatever the source has.

OUT appears as a whole. Until then rows lie in OUT.parts; after an interruption, even a kill, the
same command continues and writes the same bytes.
"""

from __future__ import annotations

import argparse
import sys

from maskmim import errors
from maskmim.config.command_line import Parser, number, path, positive_number
from maskmim.embedding.errors import EmbedError
from maskmim.embedding.outputs import check_output
from maskmim.embedding.run import prepare
from maskmim.embedding.source import KINDS, check_source
from maskmim.embedding.windows import Cut
from maskmim.errors import count_of
from maskmim.inference import load
from maskmim.inference.model import BATCH_SIZE
from maskmim.runtime import activity, exits


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parse_options(argv)
    cut = _cut(options)
    check_source(options.data)
    check_output(options.out, force=options.force)
    with activity.during("reading the model and listing the files"):
        model = load(
            options.source,
            size=options.size,
            heads=options.heads,
            mean=options.mean,
            std=options.std,
        )
        embedding = prepare(
            model.loaded,
            options.data,
            batch_size=options.batch_size,
            pooling=options.pooling,
            layers=options.layers,
            cut=cut,
        )
    done = embedding.write(options.out, force=options.force)
    print(f"{options.out}: {done.table}, {options.out.stat().st_size:,} bytes")
    if done.bad:
        print(f"left out: {count_of(done.bad, 'unreadable file')}, see {done.bad_list}")
    return errors.DONE


def _cut(options: argparse.Namespace) -> Cut | None:
    """Return how files are cut into windows; None for whole files. Raises EmbedError."""
    if options.window is None:
        if options.stride is not None:
            raise EmbedError("--stride is between windows: give --window SECONDS too")
        return None
    stride = options.window if options.stride is None else options.stride
    for name, seconds in (("window", options.window), ("stride", stride)):
        if not 0.01 <= seconds < 1e6:
            raise EmbedError(f"--{name} {seconds:g}: give seconds, at least 0.01")
    return Cut(options.window, stride)


def _layers(text: str) -> tuple[int, ...]:
    """Return the numbers of blocks that a text lists: a type of argparse."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        message = f"expected numbers of blocks, as --layers=3,-1, got {text!r}"
        raise argparse.ArgumentTypeError(message) from None


def _statistics(text: str) -> tuple[float, ...]:
    """Return one number per channel that a text lists: a type of argparse."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        message = f"expected a number per channel, as 0.5,0.5,0.5, got {text!r}"
        raise argparse.ArgumentTypeError(message) from None


def _size(text: str) -> int | tuple[int, ...]:
    """Return the size that a text names, '224' or '16x224x224': a type of argparse."""
    parts = text.replace(",", "x").split("x")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"expected a size, as 224 or 16x224x224, got {text!r}")
    numbers = tuple(map(int, parts))
    return numbers[0] if len(numbers) == 1 else numbers


def _parse_options(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--source", required=True, help="a work directory, a checkpoint or a weights file")
    add("--data", required=True, help=KINDS)
    add("--out", required=True, type=path, help="file.safetensors, .npz or .parquet")
    add("--pooling", help="mean, class, class_mean, or tokens for every patch; default: the run's")
    add("--layers", type=_layers, metavar="N,N", help="blocks, as --layers=3,-1; default: output")
    add("--size", type=_size, help="of the inputs, as 224; default: that of the weights")
    add("--heads", type=positive_number, help="of a weights file without config.json beside it")
    add("--mean", type=_statistics, metavar="M,M,M", help="of such a file, in [0, 1]")
    add("--std", type=_statistics, metavar="S,S,S", help="of such a file, in [0, 1]")
    add("--batch-size", type=positive_number, default=BATCH_SIZE, help=f"default: {BATCH_SIZE}")
    add("--window", type=number, metavar="SECONDS", help="a row for each window of a file")
    add("--stride", type=number, metavar="SECONDS", help="between windows; default: --window")
    add(
        "--force",
        action="store_true",
        help="begin anew: replace OUT, and rows of an earlier command",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(exits.run(main))
