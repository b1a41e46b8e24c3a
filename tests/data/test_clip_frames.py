"""Frames and second views of a clip: all come from it, at the sizes of their streams."""

import numpy as np
import pytest

from maskmim.data.clip_frames import clip_and_frames
from maskmim.data.records import DataError

SIZE = {"video": (6, 8, 8), "second": (6, 8, 8), "frame_1": (4, 4), "frame_2": (4, 4)}
NUMBERED = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None, None, None], (6, 12, 12, 3))


@pytest.mark.proves(74, "frames come from their clip, one of each equal part of it")
def test_a_frame_of_each_part_of_the_clip():
    seen = []
    for seed in range(40):
        made = clip_and_frames(np.random.default_rng(seed), {"video": NUMBERED}, SIZE)
        assert {name: array.shape[:-1] for name, array in made.items()} == SIZE
        for name in ("video", "second"):
            np.testing.assert_array_equal(made[name][:, 0, 0, 0], np.arange(6))
        numbers = [np.unique(made[name]) for name in ("frame_1", "frame_2")]
        assert all(len(each) == 1 for each in numbers)
        seen.append([int(each[0]) for each in numbers])
    first, second = (set(each) for each in zip(*seen, strict=True))
    assert (first, second) == ({0, 1, 2}, {3, 4, 5})


def test_crops_are_drawn_anew_for_every_stream():
    clip = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    size = {name: (1, 8, 8) if len(each) == 3 else (8, 8) for name, each in SIZE.items()}
    made = clip_and_frames(np.random.default_rng(1), {"video": clip}, size)
    arrays = [array.reshape(8, 8, 3) for array in made.values()]
    for number, array in enumerate(arrays):
        assert not any(np.array_equal(array, other) for other in arrays[number + 1 :])


def test_a_stream_without_a_size_is_refused():
    size = {name: each for name, each in SIZE.items() if name != "frame_2"}
    with pytest.raises(DataError, match=r"input\.streams\.frame_2"):
        clip_and_frames(np.random.default_rng(0), {"video": NUMBERED}, size)
