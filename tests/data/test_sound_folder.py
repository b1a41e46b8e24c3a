"""Sound files in a folder, labelled by their paths."""

import numpy as np
import pytest
import soundfile

from maskmim.data.records import DataError, Records
from maskmim.data.sound import waveform
from maskmim.data.sound_folder import recordings

DIGITS = r"(?P<digit>\d)_(?P<speaker>[a-z]+)_\d+\.wav"


@pytest.fixture
def folder(tmp_path):
    names = ["7_jackson_0.wav", "7_theo_12.wav", "3_theo_5.wav", "notes.txt", ".hidden.wav"]
    names += ["dog/a.flac", "dog/deep/b.OGG", "cat/c.wav"]
    for place, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = path.suffix[1:].upper() if path.suffix != ".txt" else "WAV"
        soundfile.write(path, np.full(800, place / 10), 8000, format=kind)
    return str(tmp_path)


def test_names_say_the_labels(folder):
    found = recordings(path=folder, pattern=DIGITS)
    assert isinstance(found, Records)
    assert found.labels == {"digit": ("3", "7"), "speaker": ("jackson", "theo")}
    names = [found.name(i) for i in range(len(found))]
    assert names == ["3_theo_5.wav", "7_jackson_0.wav", "7_theo_12.wav"]
    assert [found[i].labels for i in range(3)] == [
        {"digit": 0, "speaker": 1},
        {"digit": 1, "speaker": 0},
        {"digit": 1, "speaker": 1},
    ]
    samples, _ = waveform(np.random.default_rng(0), found[1].encoded, rate=8000)
    np.testing.assert_allclose(samples, 0.0, atol=1e-4)


def test_subfolders_say_the_class(folder):
    found = recordings(path=folder, pattern="(?P<class>[^/]+)/.*")
    assert found.labels == {"class": ("cat", "dog")}
    names = [found.name(i) for i in range(3)]
    assert names == ["cat/c.wav", "dog/a.flac", "dog/deep/b.OGG"]
    assert [found[i].labels["class"] for i in range(3)] == [0, 1, 1]


def test_without_a_pattern_all_files_without_labels(folder):
    found = recordings(path=folder)
    assert len(found) == 6 and found.labels == {} and found[0].labels == {}


def test_classes_can_be_given(folder):
    classes = {"digit": [str(n) for n in range(10)]}
    found = recordings(path=folder, pattern=DIGITS, classes=classes)
    assert [found[i].labels["digit"] for i in range(3)] == [3, 7, 7]
    assert found.labels["speaker"] == ("jackson", "theo")
    part = recordings(path=folder, pattern=r"(?P<digit>7)_.*")
    assert part.fingerprint != found.fingerprint


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"pattern": "("}, "not a regular expression"),
        ({"pattern": "x.*"}, r"matches 'x.\*' \(the first is '3_theo_5.wav'\)"),
        ({"pattern": DIGITS, "classes": {"digit": ["7"]}}, r"lack \['3'\]"),
        ({"pattern": DIGITS, "classes": {"digits": ["7"]}}, "no groups of those names"),
        ({"path": "/nowhere"}, "does not exist"),
    ],
)
def test_mistakes_are_named(folder, keywords, words):
    with pytest.raises(DataError, match=words):
        recordings(**{"path": folder, **keywords})


def test_a_folder_without_sounds(tmp_path):
    (tmp_path / "a.txt").write_text("nothing")
    with pytest.raises(DataError, match="no sound files"):
        recordings(path=str(tmp_path))
