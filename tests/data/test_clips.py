import io
import wave

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from maskmim.data.clips import (
    centre_clip,
    frame_indices,
    middle_frame,
    random_clip,
    spread_frames,
)
from maskmim.data.records import BadImage, DataError
from maskmim.data.video_files import read_frames
from tests.data import files, videos
from tests.tolerances import SIGNIFICANCE

COUNT = 50
MP4 = videos.video(videos.frames(COUNT), "mp4", g="12", bf="2")


def first_and_all(encoded, places, **options):
    """The frames at `places`, and the number of frames that the file has."""
    counts = []

    def choose(count):
        counts.append(count)
        return places

    return read_frames(encoded, choose, **options), counts[0]


@pytest.mark.parametrize("kind", videos.KINDS)
def test_frames_are_found_by_their_numbers(kind):
    encoded = MP4 if kind == "mp4" else videos.video(videos.frames(COUNT), kind)
    for places in ([0, 1, 2], [3, 31, 49], [37, 37, 38], [49]):
        clip, count = first_and_all(encoded, places)
        assert count == COUNT and videos.numbers(clip) == places
    assert clip.shape == (1, videos.SIDE, videos.SIDE, 3) and clip.dtype == np.uint8


@pytest.mark.parametrize("kind, options", [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_animated_pictures_are_videos(kind, options):
    clip, count = first_and_all(videos.animation(videos.frames(9), kind, **options), [1, 4, 4, 8])
    assert count == 9 and videos.numbers(clip) == [1, 4, 4, 8]


def test_a_still_picture_is_a_video_of_one_frame():
    clip = centre_clip(np.random.default_rng(0), files.encoded(files.picture(), "PNG"), frames=3)
    assert clip.shape == (3, 20, 30, 3) and (clip == files.picture()).all()


@pytest.mark.parametrize("kind, options", [("WEBP", {"lossless": True}), ("PNG", {})])
def test_animated_pictures_are_turned_upright(kind, options):
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), np.uint8)
    for count in (1, 4):
        encoded = videos.animation(pictures[:count], kind, exif=exif.tobytes(), **options)
        clip, _ = first_and_all(encoded, [0, count - 1])
        expected = [np.rot90(pictures[k], -1) for k in (0, count - 1)]
        np.testing.assert_array_equal(clip, expected)


def test_pictures_of_16_bits_keep_their_scale_or_are_refused():
    levels = np.random.default_rng(0).integers(0, 256, (4, 20, 30), np.uint8)
    still, moving = (videos.animation(levels[:n] * np.uint16(257), "PNG") for n in (1, 4))
    clip, _ = first_and_all(still, [0, 0], channels=1)
    np.testing.assert_array_equal(clip[..., 0], levels[[0, 0]])
    with pytest.raises(BadImage, match="animated picture of 16 bits"):
        first_and_all(moving, [0, 3], channels=1)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels(channels):
    for encoded in (MP4, videos.animation(videos.frames(5), "WEBP", lossless=True)):
        clip, _ = first_and_all(encoded, [2, 4], channels=channels)
        assert clip.shape == (2, videos.SIDE, videos.SIDE, channels)
        assert videos.numbers(clip[..., :3]) == [2, 4]
    with pytest.raises(DataError, match="1, 3 or 4 channels, not 2"):
        read_frames(MP4, lambda count: [0], channels=2)


def test_arrays_are_videos_with_any_number_of_channels():
    array = np.random.default_rng(0).integers(0, 256, (20, 4, 5, 7), np.uint8)
    clip = centre_clip(np.random.default_rng(0), array, channels=7, frames=4, stride=2)
    np.testing.assert_array_equal(clip, array[6:14:2])
    for wrong in (array[0], array.astype(np.float32), array[:0]):
        with pytest.raises(BadImage, match=r"expected frames u8\[T, H, W, C\]"):
            centre_clip(np.random.default_rng(0), wrong, channels=7)
    with pytest.raises(BadImage, match="7 channels, expected 3"):
        centre_clip(np.random.default_rng(0), array)


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(4000))
    return file.getvalue()


def playlist(tmp_path) -> bytes:
    (tmp_path / "part.mp4").write_bytes(MP4)
    return f"#EXTM3U\n#EXTINF:2,\n{tmp_path / 'part.mp4'}\n#EXT-X-ENDLIST\n".encode()


def test_what_cannot_be_read_is_a_bad_file(tmp_path):
    broken = {
        "empty": b"",
        "text": b"this is not a video\n" * 50,
        "no index": MP4[: len(MP4) // 2],
        "damaged": MP4[:300] + bytes(len(MP4) - 600) + MP4[-300:],
        "damaged picture": videos.animation(videos.frames(9), "GIF")[:200],
        "sound": sound(),
        "playlist": playlist(tmp_path),
    }
    for name, encoded in broken.items():
        with pytest.raises(BadImage) as caught:
            centre_clip(np.random.default_rng(0), encoded)
        assert caught.value.reason, name
    with pytest.raises(BadImage, match="32 x 32 pixels are more than the limit of 1000"):
        centre_clip(np.random.default_rng(0), MP4, max_pixels=1000)


def official_places(duration, start, frames, stride):
    """The rule of the official loader, whose numbers begin at 1."""
    offset, places = start + 1, []
    for _ in range(frames):
        places.append(offset - 1)
        if offset + stride < duration:
            offset += stride
    return places


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_places_are_the_official_ones(stride):
    span = 16 * stride
    for count in (span, span + 1, span + 37):
        for start in range(count - span + 1):
            found = frame_indices(count, start, frames=16, stride=stride)
            reached = [min(place, count - 2) for place in found] if stride == 1 else found
            assert list(reached) == official_places(count, start, 16, stride)


def test_short_videos_repeat_their_last_frame():
    assert list(frame_indices(10, 0, frames=6, stride=3)) == [0, 3, 6, 9, 9, 9]
    assert list(frame_indices(9, 0, frames=6, stride=3)) == [0, 3, 6, 6, 6, 6]
    assert official_places(9, 0, 6, 3) == [0, 3, 6, 6, 6, 6]
    assert list(frame_indices(1, 0, frames=3, stride=4)) == [0, 0, 0]
    with pytest.raises(DataError, match="both must be 1 or more"):
        frame_indices(10, 0, frames=4, stride=0)


def test_training_begins_anywhere_and_evaluation_in_the_middle():
    array = videos.frames(50, side=2)
    starts = []
    for seed in range(600):
        found = videos.numbers(random_clip(np.random.default_rng(seed), array, frames=5, stride=8))
        assert found == [found[0] + 8 * k for k in range(5)]
        starts.append(found[0])
    counts = np.bincount(starts)
    assert len(counts) == 11 and stats.chisquare(counts).pvalue > SIGNIFICANCE
    for seed in (0, 1):
        clip = centre_clip(np.random.default_rng(seed), MP4, frames=5, stride=8)
        assert videos.numbers(clip) == [5, 13, 21, 29, 37]


def test_the_same_numbers_give_the_same_clip():
    clips = [random_clip(np.random.default_rng(3), MP4, frames=4, stride=2) for _ in range(2)]
    np.testing.assert_array_equal(*clips)


def test_one_frame_of_each_part_is_taken():
    rng = np.random.default_rng(0)
    clip = np.broadcast_to(np.arange(9, dtype=np.uint8)[:, None, None, None], (9, 2, 2, 3))
    taken = np.array([spread_frames(rng, clip, frames=2)[:, 0, 0, 0] for _ in range(300)])
    assert set(taken[:, 0]) == {0, 1, 2, 3} and set(taken[:, 1]) == {4, 5, 6, 7, 8}
    assert (spread_frames(rng, clip[:1], frames=3) == 0).all()
    assert (middle_frame(rng, clip) == 4).all() and middle_frame(rng, clip).shape == (2, 2, 3)
