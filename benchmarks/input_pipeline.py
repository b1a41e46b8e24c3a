"""Images/s of one core from JPEG files to batches, compared with torch's DataLoader.

  python -m benchmarks.input_pipeline [--turns 7] [--images 512] [--batch 64] [--quality 96]

First the stages, each alone in one thread; then whole pipelines with one worker on one core. Ours
reads ArrayRecord shards, in a thread of the training process or in a worker process, and crops with
transforms.random_resized_crop_flip, or with the same resized by Pillow. The peer is torch's
DataLoader with one worker process over JPEG files, with the same crops by Pillow, which returns
normalised float32 tensors as recipes do, or uint8 tensors that the device normalises, as ours does.
All files are in the page cache. Pipelines take turns; a turn starts after four batches, so that no
batch is prefetched.

Images/s of a core are images divided by the CPU seconds of this process and its workers, so that
other load on the machine matters little. The table has medians, and the ratio to each peer turn by
turn. The photographs are synthetic, see benchmarks/photographs.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.photographs import photographs
from maskmim.data.array_record import shards
from maskmim.data.decode import decode
from maskmim.data.pipeline import train_batches
from maskmim.data.records import Records
from maskmim.data.resize import resize
from maskmim.data.shard_format import Index, write_index, write_shard
from maskmim.data.transforms import random_crop_box, random_resized_crop_flip
from maskmim.types import Spec

PEERS = ("torch, uint8", "torch, float32")
# grain shuffles at least 65,536 indices and skips those beyond the set: with 512 images that costs
# 0.07 ms each, with ImageNet's a negligible time.
RECORDS = 4096
TICK = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its living descendants."""
    taken, parents = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # the process has ended
                continue
            parents[int(entry.name)] = int(fields[1])
            taken[int(entry.name)] = (int(fields[11]) + int(fields[12])) * TICK
    family = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(taken.get(member, 0.0) for member in family - {os.getpid()}) + time.process_time()


def crop_by_pillow(
    rng: np.random.Generator, image: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Crop and flip as `transforms.random_resized_crop_flip`, resized by Pillow."""
    top, left, height, width = random_crop_box(
        rng, image.shape[:2], scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3)
    )
    part = image[top : top + height, left : left + width]
    return resize(part, size, mirror=rng.random() < 0.5)


def stages(files: list[bytes], records: Records, size: int) -> dict[str, Callable[[int], Any]]:
    """Return {name: function of an image's number} for each stage of preparing an example."""
    pixels = [decode(file) for file in files]
    half = min(pixels[0].shape[:2]) // 2

    def crop_image(i: int, image: np.ndarray, crop: Callable) -> np.ndarray:
        return crop(np.random.default_rng(i), image, (size, size))

    ours = random_resized_crop_flip
    return {
        "read a record": lambda i: records[i],
        "decode": lambda i: decode(files[i]),
        "decode at half size": lambda i: decode(files[i], short_side=half),
        "crop, Pillow": lambda i: crop_image(i, pixels[i], crop_by_pillow),
        "crop": lambda i: crop_image(i, pixels[i], ours),
        "all stages, Pillow": lambda i: crop_image(i, decode(records[i].encoded), crop_by_pillow),
        "all stages": lambda i: crop_image(i, decode(records[i].encoded), ours),
    }


def milliseconds(stage: Callable[[int], Any], count: int) -> float:
    """Return the CPU milliseconds of one image."""
    began = time.process_time()
    for index in range(count):
        stage(index)
    return (time.process_time() - began) / count * 1e3


def pipelines(
    files: list[bytes], records: Records, folder: Path, options: argparse.Namespace
) -> dict[str, Iterator]:
    """Return {name: endless batches} of every pipeline, each with one worker."""
    from benchmarks.torch_input import batches

    side, size = options.size, (options.size, options.size)
    ours = partial(
        train_batches,
        records,
        spec=Spec(size, 3, (0.5,) * 3, (0.5,) * 3),
        batch_size=options.batch,
        seed=0,
        threads=1,
    )
    paths = []
    for number, file in enumerate(files):
        paths.append(folder / f"{number}.jpg")
        paths[-1].write_bytes(file)
    theirs = partial(batches, paths, size=side, batch=options.batch, workers=1)
    return {
        "Pillow's crop, in a thread": ours(augment=crop_by_pillow, workers=0),
        "in a thread": ours(augment=random_resized_crop_flip, workers=0),
        "in a worker": ours(augment=random_resized_crop_flip, workers=1),
        PEERS[0]: theirs(floats=False),
        PEERS[1]: theirs(floats=True),
    }


def time_batches(batches: Iterator, count: int) -> tuple[float, float]:
    """Return the CPU seconds and the seconds of `count` batches."""
    time.sleep(0.5)  # until the other pipelines have finished prefetching
    for _ in range(4):
        next(batches)
    cpu, began = cpu_seconds(), time.perf_counter()
    for _ in range(count):
        next(batches)
    return cpu_seconds() - cpu, time.perf_counter() - began


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=10, help="in a turn")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--height", type=int, default=375)
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--quality", type=int, default=96)
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    files = photographs(
        options.images, height=options.height, width=options.width, quality=options.quality
    )
    print(
        f"{options.images} JPEG files of {options.width} x {options.height}, quality "
        f"{options.quality}, {statistics.mean(map(len, files)) / 1e3:.0f} kB; crops of "
        f"{options.size} px; medians of {options.turns} turns, one core\n"
    )
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        repeated = files * -(-RECORDS // len(files))
        shard = write_shard(
            folder / "images.array_record", ((str(i), {}, file) for i, file in enumerate(repeated))
        )
        write_index(folder, Index({}, (shard,)))
        records = shards(path=path)
        print_stages(stages(files, records, options.size), len(files), options.turns)
        print_pipelines(pipelines(files, records, folder, options), options)


def print_stages(stages: dict[str, Callable[[int], Any]], count: int, turns: int) -> None:
    """Print a line for each stage."""
    times = [
        {name: milliseconds(stage, count) for name, stage in stages.items()} for _ in range(turns)
    ]
    print(f"{'stage':<32}{'CPU ms/image':>14}{'images/s':>10}")
    for name in stages:
        median = statistics.median(turn[name] for turn in times)
        print(f"{name:<32}{median:>14.3f}{1e3 / median:>10.0f}")


def print_pipelines(contestants: dict[str, Iterator], options: argparse.Namespace) -> None:
    """Print a line for each pipeline, with the ratio of its speed to the peers', turn by turn."""
    turns = [
        {name: time_batches(batches, options.batches) for name, batches in contestants.items()}
        for _ in range(options.turns)
    ]
    images = options.batches * options.batch
    heads = "".join(f"{f'times {peer}':>24}" for peer in PEERS)
    print(f"\n{'pipeline':<28}{'images/s per core':>19}{'by the clock':>14}{heads}")
    for name in contestants:
        cpu, wall = (statistics.median(turn[name][i] for turn in turns) for i in (0, 1))
        print(f"{name:<28}{images / cpu:>19.0f}{images / wall:>14.0f}", end="")
        for peer in PEERS:
            ratios = [turn[peer][0] / turn[name][0] for turn in turns]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"{spread:>24}", end="")
        print()


if __name__ == "__main__":
    main()
