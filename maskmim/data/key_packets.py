"""Packets of a compressed video at which a decoder may begin."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Types of a picture's slices in H.264 and HEVC, and of those that need no earlier picture.
H264_SLICES, H264_IDR = range(1, 6), (5,)
HEVC_SLICES, HEVC_IRAP = range(32), range(16, 24)
_START_CODE = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)


def begins_decoding(packet: bytes, codec: str, extradata: bytes) -> bool:
    """Return whether a packet marked as key needs no earlier one, nor do those shown after it.

    codec: FFmpeg's name. extradata: the stream's header, which says how units are separated.
    True for H.264 only where the picture is an IDR picture, since other key pictures (recovery
    points) may be followed by references to earlier ones; for HEVC where it is any random access
    picture, which the standard grants this; for other codecs without a look.
    """
    if codec == "h264":
        size = extradata[4] & 3 if len(extradata) > 4 else 0
        kinds = (first & 31 for first in _first_bytes(packet, extradata, size + 1))
        return next((kind for kind in kinds if kind in H264_SLICES), 0) in H264_IDR
    if codec == "hevc":
        size = extradata[21] & 3 if len(extradata) > 21 else 0
        kinds = (first >> 1 & 63 for first in _first_bytes(packet, extradata, size + 1))
        return next((kind for kind in kinds if kind in HEVC_SLICES), 0) in HEVC_IRAP
    return True


def _first_bytes(packet: bytes, extradata: bytes, length_size: int) -> Iterator[int]:
    """Return the first byte of each unit (NAL) of an H.264 or HEVC packet.

    MP4 and Matroska write the length of each unit before it, in `length_size` bytes, and say so in
    the first byte of extradata; other containers write start codes.
    """
    if extradata[:1] != b"\1":
        yield from (match[1][0] for match in _START_CODE.finditer(packet))
        return
    place = length_size
    while place < len(packet):
        yield packet[place]
        place += int.from_bytes(packet[place - length_size : place]) + length_size
