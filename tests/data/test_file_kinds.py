"""Each suffix that a folder lists is read: files of that kind are written here and decoded."""

import io

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from maskmim.data import folder, sound_folder, video_folder
from maskmim.data.decode import decode
from maskmim.data.sound import waveform
from maskmim.data.video_files import read_frames
from tests.data import files, videos

PILLOW = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".mpo": "MPO", ".png": "PNG",
    ".apng": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".dib": "DIB", ".tif": "TIFF", ".tiff": "TIFF",
    ".gif": "GIF", ".ppm": "PPM", ".pgm": "PPM", ".pbm": "PPM", ".pnm": "PPM", ".tga": "TGA",
    ".pcx": "PCX", ".sgi": "SGI", ".qoi": "QOI", ".avif": "AVIF", ".avifs": "AVIF",
    ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".j2c": "JPEG2000", ".jpc": "JPEG2000",
    ".jpf": "JPEG2000", ".jpx": "JPEG2000",
}  # fmt: skip
MODES = {".pgm": "L", ".pbm": "1"}
LOSSY = {"JPEG", "MPO", "AVIF", "GIF", "WEBP"}


@pytest.mark.parametrize("suffix", folder.SUFFIXES)
def test_images(tmp_path, suffix):
    source = Image.fromarray(files.picture(3, (24, 32, 3))).convert(MODES.get(suffix, "RGB"))
    kind = PILLOW[suffix]
    # The suffix decides between the container and the bare stream of JPEG 2000.
    source.save(
        tmp_path / f"a{suffix}", kind, **({"quality": 95} if kind in LOSSY - {"GIF"} else {})
    )
    (record,) = folder.unlabelled(path=str(tmp_path))
    pixels = decode(record.encoded)
    difference = np.abs(pixels.astype(int) - np.asarray(source.convert("RGB")).astype(int))
    assert pixels.shape == (24, 32, 3)
    assert difference.mean() < (12 if kind in LOSSY else 1e-9)


SOUNDS = {
    ".wav": ("WAV", "PCM_16"), ".wave": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"), ".oga": ("OGG", "VORBIS"), ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"), ".aif": ("AIFF", "PCM_16"), ".aiff": ("AIFF", "PCM_16"),
    ".aifc": ("AIFF", "FLOAT"), ".au": ("AU", "PCM_16"), ".snd": ("AU", "PCM_16"),
    ".caf": ("CAF", "PCM_16"), ".w64": ("W64", "PCM_16"), ".rf64": ("RF64", "PCM_16"),
    ".voc": ("VOC", "PCM_16"), ".sph": ("NIST", "PCM_16"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", sound_folder.SUFFIXES)
def test_sounds(tmp_path, suffix):
    samples = 0.5 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)
    kind, coding = SOUNDS[suffix]
    stream = io.BytesIO()
    soundfile.write(stream, samples, 16_000, format=kind, subtype=coding)
    (tmp_path / f"a{suffix}").write_bytes(stream.getvalue())
    (record,) = sound_folder.recordings(path=str(tmp_path))
    found, _ = waveform(np.random.default_rng(0), record.encoded, rate=16_000)
    assert abs(len(found) - len(samples)) < 2000
    spectrum = np.abs(np.fft.rfft(found))
    assert abs(spectrum.argmax() * 16_000 / len(found) - 440) < 5


CONTAINERS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".qt": "mov", ".3gp": "3gp", ".3g2": "3g2",
    ".webm": "webm", ".mkv": "matroska", ".avi": "avi", ".divx": "avi", ".mpg": "mpeg",
    ".mpeg": "mpeg", ".mpe": "mpeg", ".m1v": "mpeg1video", ".m2v": "mpeg2video", ".vob": "vob",
    ".ts": "mpegts", ".mts": "mpegts", ".m2ts": "mpegts", ".m2t": "mpegts", ".wmv": "asf",
    ".asf": "asf", ".flv": "flv", ".f4v": "f4v", ".ogv": "ogv", ".ogm": "ogg",
}  # fmt: skip
CODECS = {
    "webm": "libvpx", "mpeg": "mpeg2video", "vob": "mpeg2video", "mpeg1video": "mpeg1video",
    "mpeg2video": "mpeg2video", "asf": "wmv2", "flv": "flv", "ogv": "libtheora",
    "ogg": "libtheora", "avi": "mpeg4", "3gp": "mpeg4", "3g2": "mpeg4",
}  # fmt: skip


def clip(suffix):
    """Return the bytes of a short video in the container of a suffix."""
    container = CONTAINERS[suffix]
    codec = CODECS.get(container, "libx264")
    if codec not in av.codecs_available:
        codec = next(each for each in ("vp8", "vp9", "flv", "mpeg4") if each in av.codecs_available)
    return videos.encode(videos.frames(8, 48), container, codec, "yuv420p")


@pytest.mark.parametrize("suffix", sorted(CONTAINERS))
def test_videos(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(clip(suffix))
    (record,) = video_folder.unlabelled(path=str(tmp_path))
    found = read_frames(record.encoded, lambda count: range(min(count, 4)))
    assert found.shape == (4, 48, 48, 3) and videos.numbers(found) == [0, 1, 2, 3]


def test_every_suffix_of_videos_is_tried():
    animations = {".webp", ".gif", ".apng"}  # read by Pillow, see test_video_files
    assert set(video_folder.SUFFIXES) == set(CONTAINERS) | animations
    frames = [Image.fromarray(files.picture(i)) for i in range(3)]
    for kind in ("WEBP", "GIF", "PNG"):
        encoded = files.encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert len(read_frames(encoded, range)) == 3
