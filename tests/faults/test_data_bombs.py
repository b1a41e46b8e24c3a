"""Small files that announce or unpack to something huge are refused cheaply; figure R13."""

import io
import re
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from maskmim.data.decode import decode
from maskmim.data.records import BadImage
from maskmim.data.sound import MAX_SAMPLES, waveform
from maskmim.data.video_files import read_frames
from tests.data import files, videos

MIB = 1 << 20


def sixteen_frames(encoded):
    """As `clips` asks for frames: places that depend on the number announced."""
    return read_frames(encoded, lambda count: np.minimum(np.arange(16) * 4, count - 1))


def patched(content, place, *values, layout):
    """Return the bytes with packed values written over them at a place."""
    packed = struct.pack(layout, *values)
    return content[:place] + packed + content[place + len(packed) :]


def jpeg(side):
    content = files.encoded(files.picture(1), "JPEG")
    return patched(content, content.index(b"\xff\xc0") + 5, side, side, layout=">HH")


def webp(side):
    content = files.encoded(files.picture(1), "WEBP", lossless=True)
    place = content.index(b"VP8L") + 9
    return patched(content, place, (side - 1) | (side - 1) << 14, layout="<I")


def bmp(side):
    return patched(files.encoded(files.picture(1), "BMP"), 18, side, side, layout="<ii")


def gif(side):
    content = files.encoded(Image.fromarray(files.picture(1)).quantize(16), "GIF")
    return patched(content, 6, side, side, layout="<HH")


def tiff(side):
    content = files.encoded(files.picture(1), "TIFF", compression="tiff_deflate")
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", content, place)[0] in (256, 257):  # width and height
            content = patched(content, place + 2, 4, 1, side, layout="<HII")
    return content


def gif_that_grows(side):
    """Return an animation whose last frame does not fit its screen."""
    content = videos.animation(videos.frames(3), "GIF")
    frame = re.compile(rb"\x2c.{4}" + struct.pack("<HH", videos.SIDE, videos.SIDE), re.DOTALL)
    *_, last = frame.finditer(content)
    return patched(content, last.start() + 5, side, side, layout="<HH")


def png_of_many_frames(count):
    content = videos.animation(videos.frames(3), "PNG")
    place = content.index(b"acTL")
    content = patched(content, place + 4, count, layout=">I")
    return patched(content, place + 12, zlib.crc32(content[place : place + 12]), layout=">I")


def motion_jpeg(side):
    """Return a video with few pixels in its header, and very many in its frames."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="matroska") as container:
        track = container.add_stream("mjpeg", rate=25)
        track.width, track.height, track.pix_fmt = videos.SIDE, videos.SIDE, "yuvj420p"
        for picture in videos.frames(3):
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode())
    content = stream.getvalue()
    for match in re.finditer(b"\xff\xc0\x00\x11\x08", content):
        content = patched(content, match.end(), side, side, layout=">HH")
    return content


def sound(samples, kind="WAV"):
    stream = io.BytesIO()
    soundfile.write(stream, samples, 16_000, format=kind, subtype="PCM_16")
    return stream.getvalue()


def wav_of_rate(rate):
    return patched(sound(np.zeros(20_000, np.int16)), 24, rate, layout="<I")


def flac_that_announces(count):
    content = sound(np.zeros(32_000, np.int16), "FLAC")
    place = content.index(b"fLaC") + 21  # the last 36 bits of these five bytes
    return content[:place] + ((0xF << 36) | count).to_bytes(5, "big") + content[place + 5 :]


# Pillow would hand it to Ghostscript, which runs what it says.
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
BOMBS = {
    "postscript": (decode, lambda: POSTSCRIPT, "not an image"),
    "png": (decode, lambda: files.png_header_bomb(50_000), "more pixels than the limit"),
    "jpeg": (decode, lambda: jpeg(65_500), "more than the limit"),
    "webp": (decode, lambda: webp(16_383), "more pixels than the limit"),
    "bmp": (decode, lambda: bmp(100_000), "more pixels than the limit"),
    "gif": (decode, lambda: gif(65_500), "more pixels than the limit"),
    "tiff": (decode, lambda: tiff(100_000), "more pixels than the limit"),
    "clip of gif": (sixteen_frames, lambda: gif(65_500), "exceeds limit"),
    "clip of growing gif": (sixteen_frames, lambda: gif_that_grows(65_000), "exceeds limit"),
    "clip of webp": (sixteen_frames, lambda: webp(16_383), "exceeds limit"),
    "clip of png": (sixteen_frames, lambda: files.png_header_bomb(50_000), "exceeds limit"),
    "endless png": (sixteen_frames, lambda: png_of_many_frames(2**31 - 1), "2,147,483,647 frames"),
    "video": (sixteen_frames, lambda: motion_jpeg(16_000), ""),
    "sound of rate 1": (lambda b: waveform(None, b), lambda: wav_of_rate(1), "320000000 samples"),
    "sound of odd rate": (lambda b: waveform(None, b), lambda: wav_of_rate(767_999), "767999"),
    "endless sound": (
        lambda b: waveform(None, b),
        lambda: flac_that_announces(2**36 - 1),
        "68719476735 samples are more than the limit",
    ),
}


def peak_of(function):
    """Return the most bytes by which resident memory grew while a function ran."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before = memory("VmRSS")
    function()
    return memory("VmHWM") - before


def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def test_memory_is_measured():
    assert peak_of(lambda: np.ones(200 * MIB, np.uint8)) > 150 * MIB


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_little_memory(name):
    read, make, words = BOMBS[name]
    bomb = make()
    assert len(bomb) < MIB

    def refused():
        with pytest.raises(BadImage) as caught:
            read(bomb)
        assert words in caught.value.reason

    assert peak_of(refused) < 100 * MIB


def test_hours_of_silence_are_refused_by_the_header():
    content = sound(np.zeros(400_000, np.int16), "FLAC")
    with pytest.raises(BadImage, match="400000 samples are more than the limit of 399999"):
        waveform(None, content, max_samples=399_999)
    assert len(waveform(None, content, max_samples=400_000).samples) == 400_000
    assert MAX_SAMPLES / 16_000 > 2 * 3600


def test_a_limit_below_the_size_refuses_a_sound_video():
    clip = videos.video(videos.frames(5), "mp4")
    assert read_frames(clip, range, max_pixels=videos.SIDE**2).shape == (5, 32, 32, 3)
    with pytest.raises(BadImage):
        read_frames(clip, range, max_pixels=videos.SIDE**2 - 1)


@pytest.mark.slow
def test_opening_a_video_decodes_no_frame_above_the_limit():
    """FFmpeg looks at the first frames of H.264 when it opens a file: some 60 MB of them here."""
    black = np.zeros((4096, 8192, 3), np.uint8)
    clip = videos.video(np.stack([black, black]), "mp4", preset="ultrafast")

    def refused():
        with pytest.raises(BadImage, match="8192 x 4096 pixels are more than the limit"):
            read_frames(clip, range, max_pixels=10**6)

    assert peak_of(refused) < 35 * MIB
