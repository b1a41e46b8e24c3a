"""What the host must do: how many images a second a core decodes and augments, measured here."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import simplejpeg
from ml_collections import ConfigDict

from maskmim.config.bricks import bind
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.data.records import BadImage
from maskmim.training.build import spec_of

# An ordinary photograph of ImageNet-1k: its mean size is near 500 x 375.
ORDINARY = (375, 500)
SIDE = 96  # of the package's photographs, the short one


class Rate(NamedTuple):
    """images: that one core prepares in a second; 0 where unknown. told: where that comes from."""

    images: float
    told: str


def decode_rate(config: ConfigDict, *, examples: int = 48) -> Rate:
    """Images that a core of this machine decodes and augments in a second, by the config's bricks.

    Measured in CPU time on the first records of `data.train`; where these are not on this machine
    and the config decodes pictures, on files as large as ordinary photographs.
    """
    try:
        records = bind(config.data.train)()
        encoded = [records[index].encoded for index in range(min(examples, len(records)))]
        which = f"{len(encoded)} records of {config.data.train.brick}"
    except Exception as error:  # a source may fail in many ways where its data are missing
        if config.data.decode.brick != "maskmim.data.decode.picture":
            return Rate(
                0.0, f"unknown, the data are not here ({_brief(error)}): give --decode-rate"
            )
        encoded = ordinary_photographs(examples)
        which = f"{examples} JPEG files of 500 x 375 pixels, as the data are not here"
    return Rate(_measured(config, encoded), f"measured here, on {which}")


def ordinary_photographs(examples: int) -> list[bytes]:
    """JPEG files of 500 x 375 pixels and quality 90, each a mosaic of the package's photographs."""
    records = grocery(split="val")
    tiles = [decode(records[index].encoded)[:SIDE, :SIDE] for index in range(len(records))]
    height, width = ORDINARY
    down, across = -(-height // SIDE), -(-width // SIDE)
    files = []
    for start in range(examples):
        chosen = [tiles[(start + 7 * place) % len(tiles)] for place in range(down * across)]
        rows = [np.concatenate(chosen[r * across : (r + 1) * across], axis=1) for r in range(down)]
        mosaic = np.ascontiguousarray(np.concatenate(rows)[:height, :width])
        files.append(simplejpeg.encode_jpeg(mosaic, quality=90))
    return files


def _measured(config: ConfigDict, encoded: list) -> float:
    """Records that are prepared in a second of CPU time."""
    spec = spec_of(config)
    unpack, augment = bind(config.data.decode), bind(config.data.augment)

    def prepare(number: int, record: object) -> None:
        rng = np.random.default_rng(number)
        try:
            augment(rng, unpack(rng, record, channels=spec.channels), size=spec.size)
        except BadImage:
            return

    prepare(0, encoded[0])  # imports and tables
    began = time.process_time()
    for number, record in enumerate(encoded):
        prepare(number, record)
    return len(encoded) / max(time.process_time() - began, 1e-9)


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
