"""What the header of a TIFF file says: its samples, its pages, and whether pages are bands."""

from __future__ import annotations

import io
import struct
from typing import NamedTuple

import numpy as np
from PIL import TiffImagePlugin

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = 0, 1, 2, 3
UNSIGNED, SIGNED, FLOATING = 1, 2, 3
ALPHA = (1, 2, 999)
ARRAYS = ('{"shape"', "ImageJ=", "<?xml")  # Descriptions of files whose pages are one array.
REDUCED_OR_MASK = 1 | 4  # Kinds of pages that are no pictures of their own.
MOST_PAGES = 1 << 16

Directory = TiffImagePlugin.ImageFileDirectory_v2


class TiffHeader(NamedTuple):
    """What the first directory of a TIFF file says of its samples.

    bits: of a sample. form: 1 unsigned, 2 signed, 3 floating point. extra: kinds of the samples
    beside the colours. pages: pictures in the file, without overviews and masks. alike: whether all
    have the size and the samples of the first. no_data: the number that stands for no data (GDAL's
    tag), or None.
    """

    size: tuple[int, int]
    bits: int
    form: int
    samples: int
    photometric: int
    extra: tuple[int, ...]
    description: str
    orientation: int
    pages: int
    alike: bool
    no_data: float | None

    @property
    def is_array(self) -> bool:
        """Whether the file says that it holds an array, which may have more than two axes."""
        several = self.pages > 1 or "\nimages=" in self.description
        several = several or '"truncated"' in self.description
        return several and self.description.startswith(ARRAYS)

    @property
    def alpha(self) -> bool:
        """Whether one of the samples is alpha; RGB with an unnamed fourth has it, as in Pillow."""
        if self.photometric == RGB and self.samples == 4 and not self.extra:
            return True
        return bool(self.extra) and self.extra[0] in ALPHA

    @property
    def colours(self) -> int:
        """The colours beside alpha: 1 grey, 3 RGB, 0 for bands of another number."""
        expected = 3 if self.photometric == RGB else 1
        return expected if self.samples - self.alpha == expected else 0


def read_header(encoded: bytes) -> TiffHeader:
    """Read the first directory of a TIFF file, and count its pages. Raises what Pillow raises."""
    stream = io.BytesIO(encoded)
    head = stream.read(16 if b"+" in encoded[:4] else 8)
    tags = Directory(head)
    stream.seek(tags.next)
    tags.load(stream)
    pages, alike = _count_pages(tags, head, stream)
    bits = tags.get(258, (1,))
    return TiffHeader(
        size=(_first(tags, 256, 0), _first(tags, 257, 0)),
        bits=max(bits if isinstance(bits, tuple) else (bits,)),
        form=_first(tags, 339, UNSIGNED),
        samples=_first(tags, 277, 1),
        photometric=_first(tags, 262, BLACK_IS_ZERO),
        extra=tuple(np.atleast_1d(tags.get(338, ()))),
        description=str(tags.get(270, ""))[:200].lstrip(),
        orientation=_first(tags, 274, 1),
        pages=pages,
        alike=alike,
        no_data=_number(str(tags.get(42113, ""))),
    )


def pages_are_bands(header: TiffHeader, channels: int | None) -> bool:
    """Return whether the pages of a file are the bands of one image.

    Pages of one channel are: arrays and numbers always, pages of 8 bits where they are alike and
    their number is `channels`, or channels is None (as nobody knows). A scanned document read with
    1 or 3 channels is a picture of its first page.
    """
    if header.samples != 1 or not (header.is_array or header.pages > 1):
        return False
    if header.is_array:
        return True
    if not header.alike or header.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        return False
    if header.bits > 8 or header.form in (SIGNED, FLOATING):
        return True
    if channels is None:
        return header.bits == 8
    return header.pages == channels or channels not in (1, 3)


def unread_pages(encoded: bytes, channels: int | None) -> int:
    """Return the number of pages of a TIFF file of which only the first is read; 0 for any other.

    channels: as of `pages_are_bands`.
    """
    if encoded[:4] not in TIFF:
        return 0
    header = read_header(encoded)
    return header.pages if header.pages > 1 and not pages_are_bands(header, channels) else 0


def _count_pages(first: Directory, head: bytes, stream: io.BytesIO) -> tuple[int, bool]:
    """Return the number of pictures, and whether they are alike."""
    pages, alike, place, seen = 1, True, first.next, {0}
    while place not in seen and pages < MOST_PAGES:
        seen.add(place)
        tags = Directory(head)
        try:
            stream.seek(place)
            tags.load(stream)
            picture = not _first(tags, 254, 0) & REDUCED_OR_MASK
            same = _samples(tags) == _samples(first)
            place = tags.next
        except (OSError, SyntaxError, ValueError, struct.error):  # damaged after the first page
            return pages + 1, False
        pages += picture
        alike = alike and (same or not picture)
    return pages, alike


def _samples(tags: Directory) -> tuple[object, ...]:
    """Return size, type, number and meaning of the samples of a page."""
    defaults = {256: 0, 257: 0, 258: (1,), 277: 1, 262: BLACK_IS_ZERO, 339: UNSIGNED}
    return tuple(np.max(tags.get(tag, default)) for tag, default in defaults.items())


def _first(tags: Directory, tag: int, default: int) -> int:
    value = tags.get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _number(text: str) -> float | None:
    """Return the number that a text is; None for any other text."""
    try:
        return float(text.strip().strip("\0"))
    except ValueError:
        return None
