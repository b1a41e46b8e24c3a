"""Pictures of many bands as streams, each of which holds some of the bands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from maskmim.config.ranges import NonNegativeInt, PositiveInt, ValueRange
from maskmim.data.decode import as_stored, picture
from maskmim.data.records import DataError
from maskmim.errors import count_of


def band_groups(
    rng: np.random.Generator,
    encoded: Any,
    channels: int | Mapping[str, int] = 3,
    *,
    groups: Mapping[str, tuple[NonNegativeInt, ...]],
    bands: PositiveInt,
    ranges: tuple[ValueRange, ...] = (),
) -> dict[str, np.ndarray]:
    """Return groups of the bands of an image file as 256 levels: {stream: u8[H, W, its bands]}.

    groups:   {stream: indices of its bands in the file, from 0}; a band may be in none.
    bands:    how many the file has.
    ranges:   of each band of the file, the stored numbers that become 0 and 255; numbers beyond are
              clipped, and fractions cut off. Without ranges a file has levels of 8 bits.
    Raises BadImage for a file with another number of bands or, with ranges, without a number
    somewhere; DataError for an unknown band and for another number of ranges. `channels` is not
    read: the groups say how many there are.
    Source: SentinelNormalize of util/datasets.py, sustainlab-group/SatMAE.
    """
    unknown = [(name, band) for name, some in groups.items() for band in some if band >= bands]
    if unknown:
        name, band = unknown[0]
        raise DataError(
            f"data.decode.groups.{name} has the band {band}, but a file has the bands 0 to "
            f"{bands - 1}: name some of these, or set data.decode.bands"
        )
    if not ranges:
        levels = picture(rng, encoded, bands)
    elif len(ranges) != bands:
        raise DataError(
            f"data.decode.ranges has {count_of(len(ranges), 'range')} for "
            f"{count_of(bands, 'band')}: give one for each, or none for files of 8 bits"
        )
    else:
        low, high = np.asarray(ranges, np.float64).T
        shares = (as_stored(rng, encoded, bands) - low) / (high - low)
        levels = np.clip(shares * 255, 0, 255).astype(np.uint8)
    return {name: np.ascontiguousarray(levels[..., list(some)]) for name, some in groups.items()}
