"""Every clip of a video file is the same as in a plain decode from its beginning, by PyAV."""

import functools
import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from maskmim.data import video_decoding
from maskmim.data.records import BadImage
from maskmim.data.video_files import read_frames
from tests.data import videos

COUNT = 26
B_FRAMES = {"g": "8", "bf": "2"}
X264 = ("libx264", "yuv420p", B_FRAMES)
VP8 = {"g": "12", "auto_alt_ref": "1", "lag_in_frames": "12", "cpu_used": "8"}
X265 = {"x265_params": "keyint=8:bframes=3:log-level=none"}  # x265's groups of pictures are open.
# Name -> container, codec, pixels, options of the encoder, as FFmpeg calls them.
KINDS = {
    "mp4": ("mp4", *X264),
    "mov": ("mov", *X264),
    "mkv": ("matroska", *X264),
    "3gp": ("3gp", *X264),
    "flv": ("flv", *X264),
    "avi without times": ("avi", *X264),
    "wmv": ("asf", *X264),
    "ts": ("mpegts", *X264),
    "nut": ("nut", *X264),
    "mxf": ("mxf", *X264),
    "bare h264": ("h264", *X264),
    "10 bits": ("mp4", "libx264", "yuv420p10le", B_FRAMES),
    "rgb": ("mp4", "libx264rgb", "rgb24", {"g": "8"}),
    "grey h264": ("mp4", "libx264", "gray", B_FRAMES),
    "open groups": ("mp4", "libx264", "yuv420p", {**B_FRAMES, "x264_params": "open-gop=1"}),
    "open groups ts": ("mpegts", "libx264", "yuv420p", {**B_FRAMES, "x264_params": "open-gop=1"}),
    "refresh": ("mp4", "libx264", "yuv420p", {"g": "8", "x264_params": "intra-refresh=1"}),
    "hevc": ("mp4", "libx265", "yuv420p", X265),
    "hevc ts": ("mpegts", "libx265", "yuv420p", X265),
    "bare hevc": ("hevc", "libx265", "yuv420p", X265),
    "vp9": ("webm", "libvpx-vp9", "yuv420p", VP8),
    "vp8 with hidden frames": ("webm", "libvpx", "yuv420p", VP8),
    "alpha": ("webm", "libvpx-vp9", "yuva420p", {"auto_alt_ref": "0", "cpu_used": "8"}),
    "av1": ("mp4", "libsvtav1", "yuv420p", {"g": "8", "preset": "13"}),
    "mpeg4 avi": ("avi", "mpeg4", "yuv420p", B_FRAMES),
    "mpeg4 mp4": ("mp4", "mpeg4", "yuv420p", B_FRAMES),
    "mpeg4 ts": ("mpegts", "mpeg4", "yuv420p", B_FRAMES),
    "mpeg2 ts": ("mpegts", "mpeg2video", "yuv420p", B_FRAMES),
    "vob": ("vob", "mpeg2video", "yuv420p", B_FRAMES),
    "mpeg1": ("mpeg1video", "mpeg1video", "yuv420p", B_FRAMES),
    "mjpeg avi": ("avi", "mjpeg", "yuvj420p", {}),
    "prores": ("mov", "prores_ks", "yuv422p10le", {}),
    "flash": ("flv", "flv", "yuv420p", {"g": "8"}),
    "raw grey": ("mov", "rawvideo", "gray", {}),
    "raw grey avi": ("avi", "rawvideo", "gray", {}),
    "raw black and white": ("avi", "rawvideo", "monob", {}),
    "raw bgra": ("avi", "rawvideo", "bgra", {}),
    "grey qtrle": ("mov", "qtrle", "gray", {}),
    "png alpha": ("mov", "png", "rgba", {}),
    "png 16 bits": ("mov", "png", "gray16be", {}),
    "gif in mov": ("mov", "gif", "rgb8", {}),
}
UNIT = 1 << 16


def offered(kind):
    """Whether the installed FFmpeg has the encoder and the container."""
    container, codec, *_ = KINDS[kind]
    return codec in av.codecs_available and container in av.formats_available


@functools.cache
def made(kind, count=COUNT, times=None, matrix=None):
    container, codec, pixels, options = KINDS[kind]
    pictures = videos.moving(count, side=64)
    return videos.encode(pictures, container, codec, pixels, times=times, matrix=matrix, **options)


def clips_equal_the_decode(encoded, pixels="rgb24", channels=3, every=1):
    """Compare clips at all starts with a plain decode; return its number of frames."""
    wanted = videos.decode(encoded, pixels)
    counts = set()
    for start in range(0, len(wanted), every):
        places = np.minimum(start + 3 * np.arange(3), len(wanted) - 1)

        def choose(count, places=places):
            counts.add(count)
            return np.minimum(places, count - 1)

        clip = read_frames(encoded, choose, channels=channels)
        expected = np.stack([wanted[place] for place in places])
        np.testing.assert_array_equal(clip, expected.reshape(clip.shape), err_msg=f"at {start}")
    assert min(counts) == len(wanted)
    return len(wanted)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if offered(kind)])
def test_clips_of_every_kind_of_file(kind):
    assert clips_equal_the_decode(made(kind)) == COUNT


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", ["mp4", "avi without times", "ts", "mpeg4 avi", "vob"])
def test_videos_of_a_frame_or_two(kind, count):
    assert clips_equal_the_decode(made(kind, count)) == count


@pytest.mark.parametrize(("channels", "pixels"), [(1, "gray"), (4, "rgba")])
@pytest.mark.parametrize("kind", ["alpha", "png alpha", "raw bgra", "png 16 bits"])
def test_grey_and_alpha(kind, channels, pixels):
    assert clips_equal_the_decode(made(kind), pixels, channels) == COUNT


TIMES = {
    "negative": tuple(range(-9, COUNT - 9)),
    "late": tuple(range(1000, 1000 + COUNT)),
    "irregular": tuple(np.cumsum(np.random.default_rng(0).integers(1, 9, COUNT)).tolist()),
}


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "avi without times"])
def test_times_that_are_not_those_of_a_metronome(kind, times):
    encoded = made(kind, times=TIMES[times])
    hidden = 9 if (kind, times) == ("mp4", "negative") else 0  # by an edit list
    assert clips_equal_the_decode(encoded) == COUNT - hidden


def earlier(number, packet):
    """Move a packet half a second towards the front, so that an edit list hides the first ones."""
    shift = int(Fraction(1, 2) / packet.time_base)
    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
    return packet


def from_the_fifth(number, packet):
    return packet if number >= 4 else None


def all_key(number, packet):
    packet.is_keyframe = True
    return packet


CUT = [
    ("mp4", "mp4"),
    ("mp4", "mov"),
    ("hevc", "mp4"),
    ("open groups", "matroska"),
    ("ts", "mpegts"),
]


@pytest.mark.parametrize("change", [earlier, from_the_fifth, all_key])
@pytest.mark.parametrize("kind, container", CUT)
def test_files_that_were_cut(kind, container, change):
    assert clips_equal_the_decode(videos.remux(made(kind), container, change)) >= COUNT // 2


@pytest.mark.parametrize("kind, container", CUT)
def test_a_lost_packet_may_shift_numbers_but_never_breaks_a_clip(kind, container):
    """A decoder drops what depends on it, which shows only where the loss is decoded."""
    encoded = videos.remux(made(kind), container, lambda n, packet: packet if n != 9 else None)
    kept = [frame.tobytes() for frame in videos.decode(encoded)]
    assert len(kept) < COUNT
    for start in range(len(kept) - 2):
        clip = read_frames(encoded, lambda count, start=start: range(start, start + 3))
        first = kept.index(clip[0].tobytes())
        assert [frame.tobytes() for frame in clip] == kept[first : first + 3]


def test_recordings_one_behind_the_other_repeat_their_times():
    for kind in ("ts", "bare h264", "mpeg2 ts"):
        assert clips_equal_the_decode(2 * made(kind, 9)) == 18


def test_packed_b_frames():
    """The bitstream of XviD: two frames in a packet, and later a packet without a frame."""
    plain = videos.encode(videos.moving(COUNT), "mp4", "mpeg4", "yuv420p", g="12", bf="1")
    with av.open(io.BytesIO(plain)) as container:
        stream = container.streams.video[0]
        header = bytes(stream.codec_context.extradata)
        packets = [(bytes(packet), packet.is_keyframe) for packet in container.demux(stream)][:-1]
    mark = b"\0\0\1\xb2DivX503b1393p\0"
    packed = []
    for data, key in packets:
        if data[data.index(b"\0\0\1\xb6") + 4] >> 6 == 2:  # a B-frame: into the packet before
            packed[-1] = (packed[-1][0] + data, packed[-1][1])
            packed.append((b"\0\0\1\xb6\x50\0\0\x7f", False))
        else:
            packed.append((data, key))
    packed[0] = (header + mark + packed[0][0], True)
    file = io.BytesIO()
    with av.open(io.BytesIO(plain)) as source, av.open(file, "w", format="avi") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for number, (data, key) in enumerate(packed):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), key
            packet.pts = packet.dts = number
            out.mux(packet)
    assert b"DivX503b1393p" in file.getvalue()
    assert clips_equal_the_decode(file.getvalue()) == COUNT


def damaged(encoded):
    """Cut a file in several places, invert some bytes, and blank a stretch."""
    for share in (0.4, 0.7, 0.95):
        yield encoded[: int(len(encoded) * share)]
    for seed in (0, 1):
        places = np.random.default_rng(seed).integers(len(encoded) // 4, len(encoded) - 999, 4)
        inverted = np.frombuffer(encoded, np.uint8).copy()
        inverted[places] ^= 0xFF
        yield inverted.tobytes()
    half = len(encoded) // 2
    yield encoded[:half] + bytes(300) + encoded[half + 300 :]


@pytest.mark.parametrize("kind", ["mkv", "ts", "avi without times", "mpeg4 avi", "vp9", "flv"])
def test_damaged_files_give_what_can_be_decoded(kind):
    lengths = [clips_equal_the_decode(encoded, every=3) for encoded in damaged(made(kind))]
    assert min(lengths) < COUNT <= max(lengths)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "flv", "ts", "hevc", "vp9", "av1", "mjpeg avi"])
def test_ordinary_files_are_decoded_from_the_key_frame_before_the_clip(kind, monkeypatch):
    encoded, firsts = made(kind), []
    plain = video_decoding.VideoFile._decode

    def watched(file, first=0, **options):
        firsts.append(first)
        return plain(file, first, **options)

    monkeypatch.setattr(video_decoding.VideoFile, "_decode", watched)
    for places in ([0, 1], [COUNT - 4, COUNT - 3]):
        read_frames(encoded, lambda count, places=places: places)
    assert len(firsts) == 2 and firsts[0] == 0 and firsts[1] >= 8


MATRICES = {
    1: (UNIT, 0, 0, UNIT), 2: (-UNIT, 0, 0, UNIT), 3: (-UNIT, 0, 0, -UNIT), 4: (UNIT, 0, 0, -UNIT),
    5: (0, UNIT, UNIT, 0), 6: (0, UNIT, -UNIT, 0), 7: (0, -UNIT, -UNIT, 0), 8: (0, -UNIT, UNIT, 0),
}  # fmt: skip


def with_exif(pixels, orientation):
    """Return a picture as Pillow shows one with this EXIF orientation."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(file, "PNG", exif=exif)
    return np.asarray(ImageOps.exif_transpose(Image.open(file)))


ORIENTED = [(kind, number) for kind in ("mp4", "mov") for number in MATRICES]
ORIENTED += [("mkv", number) for number in (1, 3, 6, 8)]  # Matroska stores angles alone


@pytest.mark.parametrize("kind, orientation", ORIENTED)
def test_display_matrices_are_exif_orientations(kind, orientation):
    a, b, c, d = MATRICES[orientation]
    container, codec, pixels, options = KINDS[kind]
    pictures = videos.moving(9, side=64)[:, :48]
    encoded = videos.encode(
        pictures, container, codec, pixels, matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30), **options
    )
    stored = videos.decode(encoded)
    clip = read_frames(encoded, lambda count: [1, 5, 8])
    np.testing.assert_array_equal(clip, [with_exif(stored[k], orientation) for k in (1, 5, 8)])


@pytest.mark.parametrize("angle", [0, 90, 180, -90, 30])
def test_phones_are_held_upright(angle):
    """PyAV gives the angle counterclockwise, as numpy's rot90; others than quarters are ignored."""
    file = io.BytesIO()
    with av.open(file, "w", format="mov") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(angle)
        for picture in videos.moving(4, side=64)[:, :48]:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    with av.open(io.BytesIO(file.getvalue())) as container:
        assert abs(abs(next(container.decode(video=0)).rotation) - abs(angle)) <= 1
    stored = videos.decode(file.getvalue())
    clip = read_frames(file.getvalue(), lambda count: range(count))
    turns = {90: 1, 180: 2, -90: 3}.get(angle, 0)
    np.testing.assert_array_equal(clip, [np.rot90(frame, turns) for frame in stored])


class Unknown:
    """A frame with side data that PyAV has no name for."""

    rotation = -90

    @property
    def side_data(self):
        raise ValueError("37 is not a valid Type")


def test_the_angle_is_known_where_pyav_does_not_know_other_side_data():
    assert video_decoding.orientation(Unknown()) == 6


def with_streams(*kinds):
    """Return an MP4 file with a stream for each kind: a cover, sound, or a video of a side."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        streams = []
        for kind in kinds:
            if kind == "sound":
                streams.append((out.add_stream("aac", rate=8000), []))
                continue
            cover = kind == "cover"
            stream = out.add_stream("mjpeg" if cover else "libx264", rate=25)
            stream.width = stream.height = side = 32 if cover else kind
            stream.pix_fmt = "yuvj420p" if cover else "yuv420p"
            if cover:
                stream.disposition = av.stream.Disposition.attached_pic
            pictures = videos.moving(1 if cover else 9, side=side)
            frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in pictures]
            streams.append((stream, frames))
        for stream, frames in streams:
            for frame in frames or [silence()]:
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
    return file.getvalue()


def silence():
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
    frame.sample_rate, frame.pts = 8000, 0
    return frame


def test_the_first_video_is_taken_that_is_not_a_cover():
    for kinds, side in ((("sound", 64), 64), ((64, 80), 64), (("cover", 80, "sound"), 80)):
        clip = read_frames(with_streams(*kinds), lambda count: [0, count - 1])
        assert clip.shape == (2, side, side, 3)
    for kinds in (("sound",), ("cover", "sound")):
        with pytest.raises(BadImage, match="no video in the file"):
            read_frames(with_streams(*kinds), lambda count: [0])


def test_frames_of_several_sizes_are_no_clip():
    small, large = (
        videos.encode(videos.moving(9, side=side), "mpegts", *X264[:2], **B_FRAMES)
        for side in (64, 80)
    )
    assert read_frames(small + large, lambda count: [count - 2, count - 1]).shape == (2, 80, 80, 3)
    with pytest.raises(BadImage, match="different sizes: 64 x 64 and 80 x 80 pixels"):
        read_frames(small + large, lambda count: [0, count - 1])
