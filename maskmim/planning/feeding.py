"""The host's share of the work: images/s that one core decodes and augments, measured here."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import simplejpeg
from ml_collections import ConfigDict

from maskmim.config.bricks import bind
from maskmim.data.batch_arrays import channels_of, size_of, with_fields
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.data.records import BadImage, Example
from maskmim.errors import count_of, first_line
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.training.build import spec_of

# Height and width of a typical photograph of ImageNet-1k, whose mean size is near 500 x 375.
TYPICAL = (375, 500)
SIDE = 96  # the short side of the package's photographs


class Rate(NamedTuple):
    """images: per second and core; 0 where unknown. source: how the number was obtained."""

    images: float
    source: str


class DataSet(NamedTuple):
    """images: of an epoch. text: what they are, in words."""

    images: int
    text: str


IMAGENET = DataSet(TRAIN_IMAGES, f"ImageNet-1k's {TRAIN_IMAGES:,} images")


def training_set(config: ConfigDict) -> DataSet:
    """Return the size of an epoch of a config; ImageNet-1k's where its data are not here."""
    repeats = config.data.repeats
    try:
        images = len(bind(config.data.train)())
        text = f"{count_of(images, 'image')} of {config.data.train.brick}"
    except Exception:  # a source may fail in many ways where its data are missing
        images, text = IMAGENET
    times = f", {repeats} times each" if repeats > 1 else ""
    return DataSet(images * repeats, f"{text}{times}")


def decode_rate(config: ConfigDict, *, examples: int = 48) -> Rate:
    """Measure the images/s that one core of this machine decodes and augments with a config.

    Measured in CPU time on the first records of `data.train`; without these data, for configs that
    decode pictures, on files of the size of typical photographs.
    """
    try:
        records = bind(config.data.train)()
        read = [records[index] for index in range(min(examples, len(records)))]
        files = f"{count_of(len(read), 'record')} of {config.data.train.brick}"
    except Exception as error:  # a source may fail in many ways where its data are missing
        if config.data.decode.brick != "maskmim.data.decode.picture":
            reason = first_line(error)[:120]
            return Rate(0.0, f"unknown, without the data ({reason}): give --decode-rate")
        read = [Example(file, {}) for file in typical_photographs(examples)]
        files = f"{examples} JPEG files of 500 x 375 pixels, without the data"
    return Rate(_measure_rate(config, read), f"measured here on {files}")


def typical_photographs(examples: int) -> list[bytes]:
    """Make JPEG files of 500 x 375 pixels and quality 90, mosaics of the package's photographs."""
    records = grocery(split="val")
    tiles = [decode(records[index].encoded)[:SIDE, :SIDE] for index in range(len(records))]
    height, width = TYPICAL
    down, across = -(-height // SIDE), -(-width // SIDE)
    files = []
    for start in range(examples):
        chosen = [tiles[(start + 7 * number) % len(tiles)] for number in range(down * across)]
        rows = [np.concatenate(chosen[r * across : (r + 1) * across], axis=1) for r in range(down)]
        mosaic = np.ascontiguousarray(np.concatenate(rows)[:height, :width])
        files.append(simplejpeg.encode_jpeg(mosaic, quality=90))
    return files


def _measure_rate(config: ConfigDict, read: list[Example]) -> float:
    """Return the images per second of CPU time, each record decoded and augmented as configured."""
    spec, repeats = spec_of(config), config.data.repeats
    unpack, augment = bind(config.data.decode), bind(config.data.augment)

    def prepare(number: int, example: Example) -> None:
        rng = np.random.default_rng(number)
        try:
            decoded = unpack(rng, example.encoded, channels=channels_of(spec, example.encoded))
            for _ in range(repeats):
                augment(rng, with_fields(decoded, example, spec), size=size_of(spec))
        except BadImage:
            return

    prepare(0, read[0])  # imports and tables
    began = time.process_time()
    for number, example in enumerate(read):
        prepare(number, example)
    return len(read) * repeats / max(time.process_time() - began, 1e-9)
