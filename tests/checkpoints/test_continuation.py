"""What decides whether a run continues: its data, wherever they lie, and what else it records."""

import hashlib
import json
import shutil
import tarfile
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from maskmim.checkpoints import continuation
from maskmim.checkpoints.reader import Restored
from maskmim.checkpoints.workdir import save_config
from maskmim.config.bricks import bind, brick
from maskmim.config.load import load, override
from maskmim.config.parse import ConfigError
from maskmim.config.serialize import to_json
from maskmim.data.records import BadImage, DataError, Example, content_sample
from maskmim.data.shard_writer import Settings, convert, digest_of_splits, open_source

NOW = {"fingerprint": "a", "examples": 8, "drawing": {"x64": "False"}, "rounding": {"jax": "1"}}


@pytest.fixture(scope="module")
def config():
    return load("configs/colormae.py:tiny")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Return two folders with the same photographs in folders, archives and shards."""
    root = tmp_path_factory.mktemp("places")
    photographs = root / "a" / "photographs"
    for name in ("x/1.png", "x/2.png", "y/1.png"):
        (photographs / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(photographs / name)
    with tarfile.open(root / "a" / "all.tar", "w") as tar:
        tar.add(photographs, "photographs")
    with zipfile.ZipFile(root / "a" / "all.zip", "w") as archive:
        for path in sorted(photographs.rglob("*.png")):
            archive.write(path, path.relative_to(photographs))
    splits = open_source(f"labelled:{photographs}")
    settings = Settings(digest_of_splits(splits), 0, 90, 2)
    convert(splits, root / "a" / "shards", settings, workers=1)
    shutil.copytree(root / "a", root / "b")
    return root


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("maskmim.data.folder.unlabelled", "photographs"),
        ("maskmim.data.folder.labelled", "photographs"),
        ("maskmim.data.archives.unlabelled", "all.tar"),
        ("maskmim.data.archives.labelled", "all.zip"),
        ("maskmim.data.array_record.shards", "shards"),
    ],
)
def test_the_fingerprint_does_not_depend_on_the_place(places, source, path):
    records = [bind(brick(source, path=str(places / side / path)))() for side in "ab"]
    assert records[0].fingerprint == records[1].fingerprint
    assert len(records[0]) == 3


def test_other_photographs_have_another_fingerprint(places, tmp_path):
    shutil.copytree(places / "a" / "photographs", tmp_path / "photographs")
    (tmp_path / "photographs" / "x" / "1.png").rename(tmp_path / "photographs" / "x" / "9.png")
    one, other = (
        bind(brick("maskmim.data.folder.unlabelled", path=str(path)))()
        for path in (places / "a" / "photographs", tmp_path / "photographs")
    )
    assert one.fingerprint != other.fingerprint


def check(stored, **changes):
    moved = changes.pop("moved", [])
    return continuation.check_origin(stored, {**NOW, **changes}, "runs/it", moved=moved)


def test_the_same_continues_and_so_does_a_checkpoint_that_records_less():
    assert check(NOW) == check({"step": 4}) == check({"step": 4, "fingerprint": "a"}) == []


@pytest.mark.parametrize(
    ("stored", "words"),
    [({"examples": 9}, "9 other examples; now there are 8"), ({}, "8 with other names or sizes")],
)
def test_other_data_do_not_continue(stored, words):
    with pytest.raises(DataError, match=words):
        check({**NOW, "fingerprint": "b", **stored})


def test_other_content_of_the_same_names_and_sizes_does_not_continue():
    with pytest.raises(DataError, match="1 of 2 files that were compared have other content"):
        check({**NOW, "sample": ["x", "", "y", "z"]}, sample=["x", "w", "", "v"])
    assert check({**NOW, "sample": ["x", ""]}, sample=["x", "w"]) == []
    assert check(NOW, sample=["x", "w"]) == []  # a checkpoint of an earlier version


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("maskmim.data.folder.unlabelled", "photographs"),
        ("maskmim.data.archives.unlabelled", "all.tar"),
        ("maskmim.data.archives.labelled", "all.zip"),
        ("maskmim.data.array_record.shards", "shards"),
    ],
)
def test_a_sample_is_of_the_files_wherever_they_lie(places, source, path):
    a, b = (content_sample(bind(brick(source, path=str(places / s / path)))()) for s in "ab")
    assert a == b and len(a) == 3 and all(a)
    photographs = places / "a" / "photographs"
    files = [(photographs / name).read_bytes() for name in ("x/1.png", "x/2.png", "y/1.png")]
    wanted = [hashlib.sha256(b"%d\n" % len(f) + f + f).hexdigest() for f in files]
    assert sorted(a) == sorted(wanted)


class Files:
    """Records of bytes, an array and what cannot be read."""

    def __init__(self, contents):
        self.contents, self.read = contents, 0

    def __len__(self):
        return len(self.contents)

    def __getitem__(self, index):
        self.read += 1
        if self.contents[index] is None:
            raise BadImage("torn")
        return Example(self.contents[index], {})


def test_a_sample_reads_sixteen_files_from_first_to_last():
    contents = [bytes([i % 256]) * 200_000 for i in range(1000)]
    before = content_sample(files := Files(contents))
    assert files.read == len(before) == 16
    for place in (0, 199_999):
        for index, at in ((0, 0), (999, 15)):
            changed = contents[index][:place] + b"?" + contents[index][place + 1 :]
            after = content_sample(Files([*contents[:index], changed, *contents[index + 1 :]]))
            assert [i for i in range(16) if after[i] != before[i]] == [at]
    assert content_sample(Files([])) == []
    assert content_sample(Files([None, np.zeros((2, 2, 3), np.uint8)])) == ["", ""]


def test_another_way_of_drawing_does_not_continue():
    with pytest.raises(ConfigError, match="X64: True -> False"):
        check({**NOW, "drawing": {"x64": "True"}})


def test_another_rounding_is_told():
    (line,) = check({**NOW, "rounding": {"jax": "0"}})
    assert line.startswith("jax: 0 -> 1: from here on") and "bit" in line


def test_weights_of_others_decide_and_not_their_place():
    stored, moved = {**NOW, "weights": "w"}, ["teachers.eyes.path: '/a' -> '/b'"]
    assert check(stored, weights="w", moved=moved) == check(NOW, weights="w") == []
    with pytest.raises(ConfigError, match="trained with other weights"):
        check(stored, weights="v")
    with pytest.raises(ConfigError, match=r"(?s)did not record.*'/a' -> '/b'"):
        check(NOW, weights="w", moved=moved)


def test_a_digest_is_of_names_types_shapes_and_values():
    trees = [
        {"a": jnp.zeros(4)},
        {"b": jnp.zeros(4)},
        {"a": jnp.zeros(4, jnp.int32)},
        {"a": jnp.zeros((2, 2))},
        {"a": jnp.zeros(4).at[3].set(1)},
    ]
    digests = [continuation.digest_arrays(tree) for tree in trees]
    assert len(set(digests)) == len(trees)
    assert continuation.digest_arrays({"a": np.zeros(4, np.float32)}) == digests[0]


def test_moved_weights_are_those_whose_place_changed(config, tmp_path):
    teacher = {"path": "/a", "layer": 2}
    other = override(config, [])
    with other.unlocked():
        other.tokenizer = teacher
    assert not continuation.moved_weights(tmp_path, other)
    save_config(tmp_path, other)
    assert not continuation.moved_weights(tmp_path, other)
    other.tokenizer.path = "/b"
    (line,) = continuation.moved_weights(tmp_path, other)
    assert "'/a' -> '/b'" in line


def test_a_checkpoint_of_another_run_is_refused(config, tmp_path):
    free, other = override(config, ["log.every_steps=9"]), override(config, ["optim.lr=9"])
    continuation.check_config_of(Restored(4, (), {}, to_json(free)), config, tmp_path)
    continuation.check_config_of(Restored(4, (), {}, ""), config, tmp_path)
    with pytest.raises(ConfigError, match=r"(?s)checkpoint 4 .*another run.*optim.lr: 9 -> "):
        continuation.check_config_of(Restored(4, (), {}, to_json(other)), config, tmp_path)


def test_an_origin_is_json_and_has_weights_only_where_they_are_read(config, places):
    records = bind(
        brick("maskmim.data.folder.unlabelled", path=str(places / "a" / "photographs"))
    )()
    found = continuation.origin(config, records, {"bank": jnp.ones(3)})
    assert json.loads(json.dumps(found)) == found and "weights" not in found
    assert set(found["rounding"]) >= {"jax", "device", "XLA_FLAGS", "jax_default_matmul_precision"}
    assert (
        len(found["sample"]) == found["examples"] == 3
        and found["fingerprint"] == records.fingerprint
    )
    with_weights = override(config, [])
    with with_weights.unlocked():
        with_weights.tokenizer = {"path": "/a"}
    other = continuation.origin(with_weights, records, {"bank": jnp.zeros(3)})
    assert other["weights"] == continuation.digest_arrays({"bank": jnp.zeros(3)})
