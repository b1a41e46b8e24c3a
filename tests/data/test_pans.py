import numpy as np
import pytest

from maskmim.data.grocery import grocery
from maskmim.data.pans import MOTIONS, pans, random_windows
from maskmim.data.records import DataError, Records


def test_clips_are_the_same_at_every_reading_and_differ_in_their_frames():
    clips, again = (pans(split="val", frames=6, side=24) for _ in range(2))
    photographs = grocery(split="val")
    assert isinstance(clips, Records) and len(clips) == len(photographs) == 296
    assert clips.labels == {**photographs.labels, "motion": MOTIONS}
    for index in (0, 7, 295):
        example = clips[index]
        assert example.encoded.shape == (6, 24, 24, 3) and example.encoded.dtype == np.uint8
        np.testing.assert_array_equal(example.encoded, again[index].encoded)
        labels = dict(example.labels)
        assert 0 <= labels.pop("motion") < 6 and labels == photographs[index].labels
        changes = np.abs(np.diff(example.encoded.astype(int), axis=0)).mean((1, 2, 3))
        assert (changes > 0.5).all()
    assert clips.name(7) == f"pan over {photographs.name(7)}"
    assert clips.fingerprint == again.fingerprint
    assert clips.fingerprint != pans(split="val", frames=6, side=25).fingerprint
    with pytest.raises(IndexError):
        clips[296]


def test_motions_are_about_equally_frequent():
    clips = pans(split="val", frames=2, side=2)
    counts = np.bincount([clips[index].labels["motion"] for index in range(len(clips))])
    assert len(counts) == len(MOTIONS) and counts.min() > 30


@pytest.mark.parametrize("motion", MOTIONS)
def test_windows_move_as_they_are_called(motion):
    rng = np.random.default_rng(0)
    for shape in ((96, 128), (130, 96), (96, 96)):
        for _ in range(50):
            first, last = np.array(random_windows(rng, shape, motion))
            for top, left, side in (first, last):
                assert top >= 0 and left >= 0 and side > 0.4 * 96
                assert top + side <= shape[0] + 1e-9 and left + side <= shape[1] + 1e-9
            down, right, wider = last - first
            if motion in ("in", "out"):
                assert abs(wider) > 10 and (wider < 0) == (motion == "in")
                middles = [window[:2] + window[2] / 2 for window in (first, last)]
                np.testing.assert_allclose(*middles)
            else:
                along, across = (right, down) if motion in ("left", "right") else (down, right)
                assert wider == across == 0 and abs(along) > 10
                assert (along < 0) == (motion in ("left", "up"))


def test_one_frame_is_an_error():
    with pytest.raises(DataError, match="frames=1: give at least 2"):
        pans(split="val", frames=1)
