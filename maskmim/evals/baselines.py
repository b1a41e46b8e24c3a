"""The untrained encoders that an evaluation compares with, on the arrays of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from maskmim.modalities import Modality
from maskmim.types import Array, Spec


def untrained_encoders(
    spec: Spec, modality: Modality
) -> dict[str, Callable[[Mapping[str, Array]], Array]]:
    """Return the untrained encoders of a stream's kind, {name in tables: encode}.

    encode: {name: [b, ...]} the arrays of a batch -> f32[b, D], of the main stream alone.
    None for a kind that takes another number of axes.
    """
    if not modality.fits(spec):
        return {}
    encoders = modality.baselines(spec)
    return {name: functools.partial(_of_stream, spec.stream, run) for name, run in encoders.items()}


def _of_stream(stream: str, encode: Callable[[Array], Array], arrays: Mapping[str, Array]) -> Array:
    return encode(arrays[stream])
