from functools import partial

import numpy as np
import pytest

from maskmim.data.clip_transforms import multi_scale_crop
from maskmim.data.clips import random_clip
from maskmim.data.pipeline import train_batches
from maskmim.data.records import BadImage, DataError, Records
from maskmim.data.video_folder import SUFFIXES, labelled, unlabelled
from maskmim.types import Spec
from tests.data import files, videos


def names(records):
    return [records.name(index) for index in range(len(records))]


def test_videos_are_found_in_order(tmp_path):
    wanted = ["B.MP4", "a.webm", "deep/er/c.WebP", "deep/d.avi"]
    passed_over = [".hidden.mp4", ".git/x.mp4", "notes.txt", "picture.jpg"]
    files.write(tmp_path, {name: b"bytes" for name in wanted + passed_over})
    records = unlabelled(path=str(tmp_path))
    assert isinstance(records, Records) and names(records) == sorted(wanted)
    assert records.labels == {} and records[0].encoded == b"bytes" and records[0].labels == {}
    (tmp_path / "a.webm").unlink()
    with pytest.raises(BadImage, match="No such file"):
        records[1]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_ending_in_any_case(tmp_path, suffix):
    files.write(tmp_path, {f"a{suffix}": b"x", f"b{suffix.upper()}": b"x"})
    assert len(unlabelled(path=str(tmp_path))) == 2


def test_subfolders_are_classes(tmp_path):
    files.write(tmp_path, {name: b"x" for name in ("jump/1.mp4", "jump/more/2.mp4", "run/3.avi")})
    files.write(tmp_path, {"beside.mp4": b"x", "notes/a.txt": b"x"})
    records = labelled(path=str(tmp_path))
    assert names(records) == ["jump/1.mp4", "jump/more/2.mp4", "run/3.avi"]
    assert records.labels == {"class": ("jump", "run")}
    assert [records[i].labels["class"] for i in range(3)] == [0, 0, 1]
    named = labelled(path=str(tmp_path), classes=("walk", "run", "jump"))
    assert [named[i].labels["class"] for i in range(3)] == [2, 2, 1]
    with pytest.raises(DataError, match=r"not among the classes: \['run'\]"):
        labelled(path=str(tmp_path), classes=("jump",))


def test_folders_without_videos_are_errors(tmp_path):
    files.write(tmp_path, {"a.txt": b"x"})
    for source in (labelled, unlabelled):
        with pytest.raises(DataError, match="no videos"):
            source(path=str(tmp_path))
        with pytest.raises(DataError, match="set the path"):
            source(path="")
    files.write(tmp_path, {"a.mp4": b"x"})
    with pytest.raises(DataError, match=r"use maskmim\.data\.video_folder\.unlabelled"):
        labelled(path=str(tmp_path))


def test_batches_of_clips_do_not_depend_on_threads_and_name_what_cannot_be_read(tmp_path):
    long, short = (videos.video(videos.frames(count), "mp4") for count in (40, 5))
    files.write(tmp_path, {"a.mp4": long, "b.mp4": b"no video", "c.mp4": short, "d.mp4": long})
    spec = Spec((4, 16, 16), 3, (0.5,) * 3, (0.5,) * 3, stream="video")
    batches = [
        train_batches(
            unlabelled(path=str(tmp_path)),
            spec=spec,
            batch_size=4,
            seed=0,
            decode=partial(random_clip, frames=4, stride=3),
            augment=multi_scale_crop,
            threads=threads,
        )
        for threads in (1, 4)
    ]
    for _ in range(2):
        one, other = (next(stream) for stream in batches)
        assert one["video"].shape == (4, *spec.shape) and one["video"].dtype == np.uint8
        np.testing.assert_array_equal(one["video"], other["video"])
        assert sorted(one["record"]) == [0, 1, 2, 3] and list(one["bad"]).count(1) == 1
        for clip, record in zip(one["video"], one["record"], strict=True):
            found = videos.numbers(clip)
            assert np.diff(found).tolist() == ([3, 0, 0] if record in (1, 2) else [3, 3, 3])
