"""Augmentation of records that hold several streams: one for each, independent of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np

from maskmim.config import kinds
from maskmim.data.records import DataError


def each(
    rng: np.random.Generator,
    arrays: Mapping[str, Any],
    size: Mapping[str, tuple[int, ...]],
    *,
    streams: Mapping[str, Annotated[Callable[..., Any], kinds.AUGMENTATION]],
) -> dict[str, Any]:
    """Return the arrays of an example, those of streams each by its own augmentation.

    streams: {name of a stream: augmentation brick (rng, array, size) -> array}, such as a crop of
             the clip and a stretch of the sound. They draw from the one generator, in the order of
             their names; what they draw has nothing to do with each other, unlike `joint_crop`.
    Arrays that are not named are returned as they are. Raises DataError where the example lacks one
    of the streams. Whatever an augmentation raises has the name of its stream in `stream`.
    """
    made = dict(arrays)
    for name in sorted(streams):
        if name not in arrays:
            raise DataError(
                f"data.augment.streams has {name!r}, the example has {', '.join(sorted(arrays))}: "
                "name streams of the example, or use a source that has it"
            )
        try:
            made[name] = streams[name](rng, arrays[name], size[name])
        except Exception as error:  # whatever an augmentation of the user raises
            error.stream = name
            raise
    return made
