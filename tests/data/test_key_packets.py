"""The packets at which a decoder may begin, by the types of their units."""

import pytest

from maskmim.data.key_packets import begins_decoding

AVCC = b"\1\x64\0\x0a\xff"  # An H.264 header whose last two bits say: lengths of 4 bytes.
HVCC = b"\1" + bytes(20) + b"\xfd"  # An HEVC header: lengths of 2 bytes.


def units(*firsts, size):
    """Return units of these first bytes, behind lengths of `size` bytes or, for 0, start codes."""
    if not size:
        return b"".join(b"\0\0\1" + bytes([first]) + b"xyz" for first in firsts)
    return b"".join((4).to_bytes(size) + bytes([first]) + b"xyz" for first in firsts)


@pytest.mark.parametrize("size", [0, 4])
def test_h264_begins_at_idr_pictures_alone(size):
    header = AVCC if size else b""
    settings, message, idr, other = 0x67, 0x06, 0x65, 0x41
    assert begins_decoding(units(settings, message, idr, size=size), "h264", header)
    assert not begins_decoding(units(settings, message, other, size=size), "h264", header)
    assert not begins_decoding(units(other, idr, size=size), "h264", header)
    assert not begins_decoding(units(settings, size=size), "h264", header)


@pytest.mark.parametrize("size", [0, 2])
def test_hevc_begins_at_random_access_pictures(size):
    header = HVCC if size else b""
    for kind, begins in ((19, True), (20, True), (21, True), (1, False), (9, False)):
        packet = units(32 << 1, 39 << 1, kind << 1, size=size)
        assert begins_decoding(packet, "hevc", header) == begins


def test_lengths_that_lie_end_the_search():
    assert not begins_decoding(b"\xff\xff\xff\xff\x06", "h264", AVCC)
    assert not begins_decoding(b"", "h264", AVCC)


def test_other_codecs_are_believed():
    assert begins_decoding(b"anything", "vp9", b"")
