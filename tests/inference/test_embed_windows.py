"""Windows of videos and sounds: their times, their frames, and where a file ends."""

import numpy as np
import pytest

from maskmim.data.records import BadImage
from maskmim.data.sound import Sound
from maskmim.embedding import run
from maskmim.embedding.errors import EmbedError
from maskmim.embedding.rows import Place
from maskmim.embedding.run import prepare
from maskmim.embedding.windows import LONGEST_GAP, Cut, Shown, cut_frames, of_sound, of_video
from tests.data import videos
from tests.inference.untrained import untrained


def shown(times, seconds=0.1):
    return [
        Shown(time, seconds, lambda number=number: np.full((1, 1, 1), number))
        for number, time in enumerate(times)
    ]


def chosen(times, cut, first=0, frames=4):
    windows = cut_frames(shown(times), cut, first, frames=frames)
    return [(w.number, w.start, round(w.end, 3), w.content.ravel().tolist()) for w in windows]


def test_windows_that_overlap():
    times = np.arange(22) / 10  # 2.2 seconds
    cut = Cut(1.0, 0.5)
    whole = chosen(times, cut)
    assert whole == [
        (0, 0.0, 1.0, [1, 3, 6, 8]),
        (1, 0.5, 1.5, [6, 8, 11, 13]),
        (2, 1.0, 2.0, [11, 13, 16, 18]),
        (3, 1.5, 2.2, [16, 18, 21, 21]),
    ]
    assert chosen(times, cut, first=2) == whole[2:]


def test_gaps_and_short_videos():
    assert chosen([0.0, 0.1], Cut(2.0, 2.0)) == [(0, 0.0, 0.2, [1, 1, 1, 1])]
    # Between the windows that are read, frames are skipped; one frame is shown for 3 seconds.
    assert chosen([0.0, 3.0], Cut(0.5, 1.0), frames=2) == [
        (0, 0.0, 0.5, [0, 0]),
        (1, 1.0, 1.5, [0, 0]),
        (2, 2.0, 2.5, [0, 0]),
    ]
    with pytest.raises(BadImage, match="no frames"):
        chosen([], Cut(1.0, 1.0))


def test_windows_of_a_sound():
    sound = Sound(np.arange(26, dtype=np.float32), 10)
    windows = list(of_sound(sound, Cut(1.0, 0.8), 1))
    assert [(w.number, w.start, w.end) for w in windows] == [
        (1, 0.8, 1.8),
        (2, 1.6, 2.6),
    ]
    np.testing.assert_array_equal(windows[0].content.samples, np.arange(8, 18))


def test_windows_of_a_file_are_the_frames_of_a_plain_decode(tmp_path):
    encoded = videos.video(videos.moving(26), "mp4")
    (tmp_path / "a.mp4").write_bytes(encoded)
    plain = videos.decode(encoded)
    cut = Cut(0.4, 0.4)
    windows = list(of_video(tmp_path / "a.mp4", cut, 0, frames=4, channels=3))
    assert [w.start for w in windows] == [0.0, 0.4, 0.8]
    assert windows[-1].end == pytest.approx(26 / 25)
    wanted = [min(int(10 * n + 1.25 + 2.5 * i), 25) for n in range(3) for i in range(4)]
    found = np.concatenate([w.content for w in windows])
    np.testing.assert_array_equal(found, np.stack(plain)[wanted])
    (tmp_path / "b.mp4").write_bytes(encoded[:300])
    with pytest.raises(BadImage):
        list(of_video(tmp_path / "b.mp4", cut, 0, frames=4, channels=3))
    late = [*range(25), LONGEST_GAP * 25 + 100]
    (tmp_path / "c.mkv").write_bytes(
        videos.encode(videos.moving(26), "matroska", "mpeg4", "yuv420p", times=late)
    )
    with pytest.raises(BadImage, match=r"a gap of 3,6\d\d s between two frames"):
        list(of_video(tmp_path / "c.mkv", cut, 0, frames=4, channels=3))


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    for name, count in (("left/a", 26), ("right/b", 12)):
        (root / name).parent.mkdir()
        (root / f"{name}.mp4").write_bytes(videos.video(videos.moving(count), "mp4"))
    (root / "left" / "broken.mp4").write_bytes(b"no film")
    return root


@pytest.mark.full
def test_a_folder_of_films(films, tmp_path, monkeypatch):
    model, out = untrained("videomae"), tmp_path / "f.npz"

    def embedding():
        return prepare(
            model.loaded, f"labelled:{films}", batch_size=2, pooling="mean", cut=Cut(0.4, 0.2)
        )

    done = embedding().write(out)
    assert done.bad == 1 and "broken.mp4" in done.bad_list.read_text()
    whole = out.read_bytes()
    with np.load(out) as stored:
        assert list(stored["names"]) == ["left/a.mp4"] * 5 + ["right/b.mp4"] * 2
        np.testing.assert_allclose(stored["start"], [0, 0.2, 0.4, 0.6, 0.8, 0, 0.2])
        np.testing.assert_allclose(stored["end"], [0.4, 0.6, 0.8, 1.0, 1.04, 0.4, 0.48])
        assert list(stored["label/class"]) == [0] * 5 + [1] * 2
        batch = next(embedding().reader.batches(Place(0), 2))
        ready = untrained("videomae", crop=False, batch_size=2)
        encoded = ready.encode([row.arrays["video"] for row in batch.rows])
        np.testing.assert_array_equal(stored["features"][:2], encoded)
    # Ends within the first film, after two of its windows.
    monkeypatch.setattr(run, "PART_SECONDS", 0.0)
    again, own = embedding(), run.Parts.add

    def then_end(self, part):
        own(self, part)
        raise KeyboardInterrupt

    monkeypatch.setattr(run.Parts, "add", then_end)
    with pytest.raises(KeyboardInterrupt):
        again.write(tmp_path / "g.npz")
    monkeypatch.setattr(run.Parts, "add", own)
    again.write(tmp_path / "g.npz")
    assert (tmp_path / "g.npz").read_bytes() == whole


@pytest.mark.full
def test_a_folder_of_sounds(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    root = tmp_path / "sounds"
    for name in ("low/a.wav", "high/b.wav"):
        (root / name).parent.mkdir(parents=True)
        samples = np.random.default_rng(0).normal(size=16_000) / 10
        soundfile.write(root / name, samples, 16_000)
    loaded = untrained("audio_mae").loaded
    prepare(loaded, f"labelled:{root}", batch_size=4).write(tmp_path / "f.npz")
    cut = Cut(0.5, 0.5)
    prepare(loaded, f"folder:{root}", batch_size=4, cut=cut).write(tmp_path / "w.npz")
    with np.load(tmp_path / "f.npz") as whole, np.load(tmp_path / "w.npz") as windows:
        assert list(whole["classes/class"]) == ["high", "low"] and len(whole["names"]) == 2
        assert list(windows["start"]) == [0, 0.5, 0, 0.5]
        assert windows["features"].shape == (4, whole["features"].shape[1])
    with pytest.raises(EmbedError, match=r"this model hears 0\.64 seconds at a time"):
        prepare(loaded, f"folder:{root}", cut=Cut(2.0, 2.0))
