"""Chosen frames of a video file through FFmpeg: those of a decode from the first packet on.

Frames are numbered in the order in which the decoder gives them. Where the packets of a file fix
that numbering, decoding begins at the last packet before the first chosen frame at which a decoder
may begin, and must then give exactly the frames that the packets promise. Other files are decoded
from their beginning, long ones twice: first to count the frames.
Nothing seeks: FFmpeg's seek misses packets in some containers, and its decoders lose palettes.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from maskmim.data.extras import import_extra
from maskmim.data.geometry import check_size, undo_orientation
from maskmim.data.key_packets import begins_decoding
from maskmim.data.records import BadImage

if TYPE_CHECKING:
    import av

# The content decides the format, and some formats (playlists) would open further files.
FORMATS = (
    "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,h264,hevc,m4v,mxf,nut,ivf,obu,dv,rm,"
    "yuv4mpegpipe"
)
# Codecs of which a packet is one frame. Frames of INTRA refer to no others.
ONE_FRAME, INTRA = ("h264", "hevc", "vp9", "av1"), ("mjpeg", "prores")
# Containers (FFmpeg's names) whose packets fix the numbers of frames, for which codecs: those that
# store the time at which each frame is shown, and AVI, which does not, where frames are stored in
# the order in which they are shown.
PROVABLE = {
    "mov,mp4,m4a,3gp,3g2,mj2": ONE_FRAME + INTRA,
    "matroska,webm": ONE_FRAME + INTRA,
    "mpegts": ONE_FRAME,
    "flv": ONE_FRAME,
    "avi": INTRA,
}
# Packets with these change the meaning of later ones.
CHANGES = ("palette", "new_extradata", "param_change")
# While frames are counted, as many bytes of them are kept, so that short videos are decoded once.
HELD_BYTES = 2**26

Choose = Callable[[int], Sequence[int]]


class Start(NamedTuple):
    """A packet from which decoding may begin: its number in the file and its time."""

    packet: int
    time: int


class Index(NamedTuple):
    """The frames that the packets of a video promise.

    times:  their presentation times, ascending.
    starts: the packets from which decoding may begin, in the order of the file.
    """

    times: list[int]
    starts: list[Start]


class VideoFile(NamedTuple):
    """The bytes of a file, the pixel format to make (FFmpeg's name), and the limit on H * W."""

    encoded: bytes
    pixel_format: str
    max_pixels: int

    def read(self, choose: Choose) -> list[np.ndarray]:
        """Return the frames with the numbers that `choose` picks, upright: u8[H, W, ...] each.

        Calls `choose` again where decoding gives another number of frames than the packets promise.
        Raises BadImage, or an error of FFmpeg, where the file cannot be read.
        """
        index, places = self._index(), []
        if index:
            places = choose(len(index.times))
            frames = self._read_from_start(index, set(places))
            if frames:
                return [frames[place] for place in places]
        count, held = self._count_frames()
        if not count:
            raise BadImage("no frames in the file")
        if index is None or count != len(index.times):
            places = choose(count)
        wanted, frames = set(places), {}
        for number, frame in enumerate(held or self._decode_readable()):
            if number in wanted:
                frames[number] = self._pixels(frame)
            if number == max(wanted):
                break
        return [frames[place] for place in places]

    @contextmanager
    def _open(self, **options: str) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        """Open the file; give its container and its first video that is not a cover picture."""
        # Opening already decodes a frame, and frames may be larger than the header says, so FFmpeg
        # gets a limit too. FFmpeg counts padding; the exact limit is checked with each frame.
        options["max_pixels"] = str(2 * self.max_pixels + 2**20)
        limits = {"format_whitelist": FORMATS, "max_pixels": options["max_pixels"]}
        with _library().open(io.BytesIO(self.encoded), options=limits) as container:
            cover = _library().stream.Disposition.attached_pic
            streams = [s for s in container.streams.video if not s.disposition & cover]
            if not streams:
                raise BadImage("no video in the file")
            stream = streams[0]
            if stream.codec_context is None:
                raise BadImage("a video in a format that FFmpeg cannot decode")
            check_size(stream.width, stream.height, self.max_pixels)
            stream.codec_context.options = options
            stream.codec_context.thread_count = 1  # the pipeline decodes one file per thread
            yield container, stream

    def _index(self) -> Index | None:
        """Return the frames that the packets promise; None where packets cannot tell."""
        times, starts, empty = set(), [], 0
        with self._open() as (container, stream):
            codec = stream.codec_context.codec.canonical_name
            if codec not in PROVABLE.get(container.format.name, ()):
                return None
            header, promised = stream.codec_context.extradata or b"", 0
            for number, packet in enumerate(container.demux(stream)):
                if not packet.size:
                    empty += 1
                    continue
                if packet.pts is None or packet.is_corrupt or _changes_decoder(packet):
                    return None
                if packet.is_keyframe and begins_decoding(bytes(packet), codec, header):
                    starts.append(Start(number, packet.pts))
                if not starts or packet.pts < starts[0].time:
                    return None  # frames that need packets before the first
                if not packet.is_discard:
                    promised += 1
                    times.add(packet.pts)
        # The last packet of a demuxer is empty; others are frames that were dropped.
        return Index(sorted(times), starts) if empty == 1 and len(times) == promised > 0 else None

    def _read_from_start(self, index: Index, places: set[int]) -> dict[int, np.ndarray] | None:
        """Return the frames with these numbers; None where others come than the packets promise."""
        times, last = index.times, max(places)
        begin = [start for start in index.starts if start.time <= times[min(places)]][-1]
        number, frames = bisect_left(times, begin.time), {}
        try:
            for frame in self._decode(begin.packet, err_detect="explode"):
                if frame.pts is not None and frame.pts < begin.time:
                    continue  # shown before the first, decoded from packets that were left out
                if frame.pts != times[number]:
                    return None
                if number in places:
                    frames[number] = self._pixels(frame)
                if number == last:
                    return frames
                number += 1
        except _library().FFmpegError:
            return None  # damage, which a decode from the first packet may conceal otherwise
        return None

    def _decode(self, first: int = 0, **options: str) -> Iterator[av.VideoFrame]:
        """Decode from packet `first` on; options are the decoder's."""
        with self._open(**options) as (container, stream):
            for number, packet in enumerate(container.demux(stream)):
                if number >= first:
                    yield from packet.decode()

    def _count_frames(self) -> tuple[int, list[av.VideoFrame]]:
        """Decode everything; return the number of frames, and the frames where they fit."""
        count, held, room = 0, [], HELD_BYTES
        for frame in self._decode_readable():
            count += 1
            room -= sum(plane.buffer_size for plane in frame.planes)
            if room >= 0:
                held.append(frame)
        return count, held if room >= 0 else []

    def _decode_readable(self) -> Iterator[av.VideoFrame]:
        """Decode from the beginning up to the first damage that the decoder does not conceal."""
        any_frame = False
        try:
            for frame in self._decode():
                any_frame = True
                yield frame
        except _library().FFmpegError:
            if not any_frame:
                raise

    def _pixels(self, frame: av.VideoFrame) -> np.ndarray:
        """Return the pixels of a frame, upright."""
        check_size(frame.width, frame.height, self.max_pixels)
        pixels = frame.to_ndarray(format=self.pixel_format)
        return undo_orientation(pixels.reshape(*pixels.shape[:2], -1), orientation(frame))


def _library() -> ModuleType:
    return import_extra("av", name="video", what="videos")


def _changes_decoder(packet: av.Packet) -> bool:
    return any(packet.has_sidedata(kind) for kind in CHANGES)


def orientation(frame: av.VideoFrame) -> int:
    """Return the EXIF orientation, 1 to 8, that says what a frame's display matrix says.

    The matrix turns or mirrors what the camera stored; angles between quarter turns are left out.
    """
    try:
        stored = bytes(frame.side_data["DISPLAYMATRIX"])
    except KeyError:
        return 1
    except ValueError:  # PyAV does not know some other side data of the frame
        return {90: 8, 180: 3, -180: 3, -90: 6}.get(frame.rotation, 1)
    # x' = a x + c y and y' = b x + d y, with y downwards.
    (a, b, _), (c, d, _), _ = np.frombuffer(stored, np.int32).reshape(3, 3).tolist()
    if max(abs(b), abs(c)) < 0.01 * max(abs(a), abs(d)):
        return {(1, 1): 1, (-1, 1): 2, (-1, -1): 3, (1, -1): 4}[_sign(a), _sign(d)]
    if max(abs(a), abs(d)) < 0.01 * max(abs(b), abs(c)):
        return {(1, 1): 5, (-1, 1): 6, (-1, -1): 7, (1, -1): 8}[_sign(c), _sign(b)]
    return 1


def _sign(number: int) -> int:
    return -1 if number < 0 else 1
