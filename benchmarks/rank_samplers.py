"""Rank mask samplers on labelled images without training.

  python -m benchmarks.rank_samplers [colour.green ...]

For every sampler that needs only a ratio: how much of the labels the first K features of the
optimal linear autoencoder under its masks capture, relative to all pixels, see
maskmim.mask_tools.alignment. Two rows are for comparison: no mask, and the published masks, in
which tokens are hidden independently of each other. Samplers that hide another share than the ratio
(column 'hidden') are not comparable with the rest. 28 samplers took 112 s of CPU time on two cores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from maskmim import errors
from maskmim.data.folder import labelled as labelled_folder
from maskmim.data.grocery import grocery
from maskmim.mask_tools.alignment import prepare_images
from maskmim.mask_tools.rank_samplers import (
    Ranked,
    Tokens,
    load_pictures,
    rank,
    rank_references,
    rankable_samplers,
    ranking_table,
)
from maskmim.runtime import exits


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _options(argv)
    tokens = Tokens(options.size, options.patch, 1 if options.grey else 3)
    records = labelled_folder(path=options.folder) if options.folder else grocery(split="train")
    small, labels = load_pictures(records, tokens, label_set=options.labels, most=options.images)
    data = prepare_images(small, labels)
    settings: Mapping = {"ratio": options.ratio, "widths": options.widths}
    rows, failed = list(rank_references(data, tokens, **settings)), []
    samplers = rankable_samplers(options.samplers)
    results = rank(data, tokens, samplers, draws=options.draws, seeds=options.seeds, **settings)
    for result in tqdm(results, total=len(samplers), desc="samplers", leave=False, disable=None):
        (rows if isinstance(result, Ranked) else failed).append(result)
    print(
        f"Alignment, % of what all {data.images.shape[1]} pixel values capture of the labels "
        f"'{options.labels}' ({len(np.unique(labels))} classes); {len(labels)} images, grid "
        f"{tokens.grid[0]} x {tokens.grid[1]}\n\n{ranking_table(rows, options.widths)}"
    )
    for name, error in failed:
        print(f"\nNot ranked: {name}: {error}")
    return errors.DONE


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("samplers", nargs="*", help="such as colour.green; default: all")
    parser.add_argument("--folder", help="one subfolder per class; default: Grocery")
    parser.add_argument("--labels", help="label set; default: coarse, for a folder: class")
    parser.add_argument("--images", type=int, default=10_000, help="maximum number of images")
    parser.add_argument("--size", type=int, default=16, help="pixels per side of an image")
    parser.add_argument("--patch", type=int, default=2, help="pixels per side of a token")
    parser.add_argument("--grey", action="store_true", help="one channel")
    parser.add_argument("--ratio", type=float, default=0.75, help="share of hidden tokens")
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 4, 16, 64, 128], metavar="K")
    parser.add_argument("--draws", type=int, default=4096, help="masks to estimate moments from")
    parser.add_argument("--seeds", type=int, default=1, help="repetitions with other masks")
    options = parser.parse_args(argv)
    options.labels = options.labels or ("class" if options.folder else "coarse")
    values = options.size**2 * (1 if options.grey else 3)
    if options.patch < 1 or options.size % options.patch:
        parser.error(f"--size {options.size} is not a multiple of --patch {options.patch}")
    if not 0 < min(options.widths) <= max(options.widths) <= values:
        parser.error(f"--widths: give numbers from 1 to {values}, the values of an image")
    return options


if __name__ == "__main__":
    sys.exit(exits.run(main))
