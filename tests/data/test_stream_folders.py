"""Pictures with partners in parallel folders."""

import pickle

import numpy as np
import pytest
from PIL import Image

from maskmim.data import stream_folders
from maskmim.data.records import BadImage, DataError, content_sample

STREAMS = {"image": "rgb", "depth": "depth"}


def write(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), sum(map(ord, name)) % 256, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    for name in ("b/2", "a/1", "a/deep/3"):
        write(tmp_path, f"rgb/{name}.jpg", f"depth/{name}.png")
    return tmp_path


def test_partners_are_one_record(root):
    source = stream_folders.labelled(path=str(root), streams=STREAMS)
    assert [source.name(index) for index in range(3)] == ["a/1.jpg", "a/deep/3.jpg", "b/2.jpg"]
    assert source.labels == {"class": ("a", "b")}
    for index, name in enumerate(("a/1", "a/deep/3", "b/2")):
        example = source[index]
        assert example.labels == {"class": int(name[0] == "b")}
        assert example.files["depth"] == str(root / f"depth/{name}.png")
        assert example.encoded == {
            "image": (root / f"rgb/{name}.jpg").read_bytes(),
            "depth": (root / f"depth/{name}.png").read_bytes(),
        }
    with pytest.raises(IndexError):
        source[3]
    assert pickle.loads(pickle.dumps(source))[0] == source[0]


def test_without_classes_every_file_counts(root):
    write(root, "rgb/0.jpg", "depth/0.png")
    source = stream_folders.unlabelled(path=str(root), streams=STREAMS)
    assert len(source) == 4 and source.labels == {} and source[0].labels == {}
    assert len(stream_folders.labelled(path=str(root), streams=STREAMS)) == 3


def test_what_lies_in_any_stream_is_part_of_the_manifest(root):
    before = stream_folders.labelled(path=str(root), streams=STREAMS)
    sample = content_sample(before)
    assert all(sample) and len(set(sample)) == 3
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(root / "depth/a/1.png")
    after = stream_folders.labelled(path=str(root), streams=STREAMS)
    assert before.fingerprint != after.fingerprint
    assert content_sample(after)[0] != sample[0] and content_sample(after)[1:] == sample[1:]


def test_a_file_that_went_away_is_a_bad_record(root):
    source = stream_folders.labelled(path=str(root), streams=STREAMS)
    (root / "depth/a/1.png").unlink()
    with pytest.raises(BadImage, match=rf"depth \({root}/depth/a/1.png\): No such file"):
        source[0]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("rgb/a/9.jpg", r"depth has no partner of .*rgb/a/9.jpg: each stream needs a file"),
        ("depth/b/9.png", r"rgb has no partner of .*depth/b/9.png"),
        ("rgb/a/1.png", r"rgb has a/1.jpg and a/1.png: keep one"),
        ("depth/c/9.png", r"rgb has no partner of .*depth/c/9.png"),
    ],
)
def test_what_has_no_partner_is_a_sentence(root, extra, words):
    write(root, extra)
    with pytest.raises(DataError, match=words):
        stream_folders.labelled(path=str(root), streams=STREAMS)


def test_folders_that_are_not_there_are_named(root):
    with pytest.raises(DataError, match="semseg' does not exist"):
        stream_folders.labelled(path=str(root), streams={**STREAMS, "map": "semseg"})
    with pytest.raises(DataError, match="no stream is named"):
        stream_folders.unlabelled(path=str(root), streams={})
    with pytest.raises(DataError, match="no folder is named"):
        stream_folders.unlabelled(path="", streams=STREAMS)
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        stream_folders.unlabelled(path=str(root), streams={**STREAMS, "map": "empty"})
