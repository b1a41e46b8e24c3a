"""The shape and the statistics of one example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Field(NamedTuple):
    """An array of an example that is not turned into tokens: a label map, boxes, a caption.

    shape: of one example. dtype: 'uint8', 'int32', 'float32' or 'bool'.
    """

    shape: tuple[int, ...]
    dtype: str


class Spec(NamedTuple):
    """The shape and the statistics of one example, from `config.input`.

    size:      (H, W) of an image, (frames, H, W) of a clip, (time, mel) of a spectrogram.
    channels:  C.
    mean, std: per channel, of u8 values divided by 255, or of float32 values as they are.
    stream:    what the batch calls it, and the token grid: 'image', 'video', 'audio'.
    dtype:     of the batch's array, 'uint8', 'int32' or 'float32'.
    names:     of the channels, such as 'B04', or ().
    classes:   where values are indices of classes (labels of pixels, bytes of a text): how many;
               0 where values are amounts, which mean and std are of.
    streams:   further streams of an example, by name; each has its own size and statistics.
    fields:    further arrays of an example that are not turned into tokens, by name.
    labels:    of each set of labels that the method learns from, how many classes it has.
    """

    size: tuple[int, ...]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stream: str = "image"
    dtype: str = "uint8"
    names: tuple[str, ...] = ()
    classes: int = 0
    streams: Mapping[str, Spec] = {}
    fields: Mapping[str, Field] = {}
    labels: Mapping[str, int] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example in a batch."""
        return (*self.size, self.channels)

    @property
    def arrays(self) -> dict[str, Spec]:
        """The streams of an example by name: this one first, then the others by their names."""
        return {self.stream: self, **{name: self.streams[name] for name in sorted(self.streams)}}
