"""Tables of features: what is in them, three formats, and continuing after an end at any place."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from maskmim import embed
from maskmim.data import folder
from maskmim.data.pipeline import eval_batches
from maskmim.embedding import run
from maskmim.embedding.encoder import Encoder
from maskmim.embedding.errors import EmbedError
from maskmim.embedding.run import prepare
from maskmim.embedding.windows import Cut
from maskmim.evals.features import extract, pooled_encoder
from maskmim.inference import InferenceError
from maskmim.training.build import bind_evals
from tests.running import ROOT, as_tests, environment
from tests.tolerances import REORDERED

ODD = "b/two\nlines ü.png"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten pictures in two classes, and a broken one between them."""
    root = tmp_path_factory.mktemp("photos")
    names = [*(f"a/{i}.png" for i in range(5)), *(f"b/{i}.png" for i in range(4)), ODD]
    for index, name in enumerate(names):
        (root / name).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (36, 40, 3), np.uint8)
        Image.fromarray(pixels).save(root / name)
    (root / "a" / "3 broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def wanted(model, photos):
    """What the Python API makes of the same files, with the same size of batches."""
    parts = list(model.encode_stream(folder.labelled(path=str(photos))))
    names = [name for part in parts for name in part.names]
    return names, np.concatenate([part.features for part in parts])


def command(workdir, photos, out):
    return [f"--source={workdir}", f"--data=labelled:{photos}", f"--out={out}", "--batch-size=4"]


def embedded(model, photos, out, **options):
    prepare(model.loaded, f"labelled:{photos}", batch_size=4, **options).write(out)
    return out


def test_npz(workdir, photos, wanted, tmp_path, capsys):
    out = tmp_path / "new" / "f.npz"
    assert embed.main(command(workdir, photos, out)) == 0
    names, features = wanted
    with np.load(out, allow_pickle=False) as stored:
        assert list(stored["names"]) == names and names[-1] == ODD
        np.testing.assert_array_equal(stored["features"], features)
        assert stored["features"].dtype == np.float32
        assert list(stored["label/class"]) == [0] * 5 + [1] * 5
        assert list(stored["classes/class"]) == ["a", "b"]
        about = json.loads(str(stored["about"]))
    assert about["pooling"] == "mean" and about["data"] == f"labelled:{photos}"
    shown = capsys.readouterr().out
    assert "features f32[10, 32], names, label/class" in shown
    assert "left out: 1 unreadable file" in shown
    listed = (tmp_path / "new" / "f.npz.bad_files.txt").read_text()
    assert listed.startswith("a/3 broken.png\tnot an image")
    assert sorted(p.name for p in out.parent.iterdir()) == ["f.npz", "f.npz.bad_files.txt"]


def test_safetensors(model, photos, wanted, tmp_path):
    out = embedded(model, photos, tmp_path / "f.safetensors")
    with safe_open(out, framework="np") as stored:
        np.testing.assert_array_equal(stored.get_tensor("features"), wanted[1])
        joined = stored.get_tensor("names").tobytes().decode()
        assert joined.split("\0") == wanted[0]
        assert list(stored.get_tensor("label/class")) == [0] * 5 + [1] * 5
        assert json.loads(stored.metadata()["classes/class"]) == ["a", "b"]


@pytest.mark.full
def test_parquet(model, photos, wanted, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("maskmim.embedding.outputs.GROUP_BYTES", 3 * 2 * 32 * 4)
    out = embedded(model, photos, tmp_path / "f.parquet", layers=(-1, 0))
    file = parquet.ParquetFile(out)
    table = file.read()
    assert [file.metadata.row_group(i).num_rows for i in range(4)] == [3, 3, 3, 1]
    assert table["name"].to_pylist() == wanted[0]
    assert table["label/class"].to_pylist() == ["a"] * 5 + ["b"] * 5
    assert np.array(table["features"].to_pylist()).shape == (10, 2, 32)
    assert json.loads(table.schema.metadata[b"classes/class"]) == ["a", "b"]


@pytest.mark.parametrize("ends_after", [1, pytest.param(2, marks=pytest.mark.full)])
def test_continuing_gives_the_same_bytes(model, photos, tmp_path, monkeypatch, ends_after):
    whole = embedded(model, photos, tmp_path / "whole.npz").read_bytes()
    monkeypatch.setattr(run, "PART_SECONDS", 0.0)
    out, calls = tmp_path / "f.npz", []
    own = Encoder.encode

    def ending(self, rows):
        calls.append(len(rows))
        if len(calls) > ends_after:
            raise KeyboardInterrupt
        return own(self, rows)

    monkeypatch.setattr(Encoder, "encode", ending)
    with pytest.raises(KeyboardInterrupt):
        embedded(model, photos, out)
    monkeypatch.setattr(Encoder, "encode", own)
    assert not out.exists() and len(list(tmp_path.glob("f.npz.parts/0*"))) == ends_after
    with pytest.raises(EmbedError, match=r"with other --pooling \(mean\): repeat that"):
        embedded(model, photos, out, pooling="class")
    embedded(model, photos, out)
    assert out.read_bytes() == whole
    assert not (tmp_path / "f.npz.parts").exists()


def test_rows_of_other_content_are_not_continued(model, photos, tmp_path, monkeypatch):
    copy, out = tmp_path / "photos", tmp_path / "f.npz"
    shutil.copytree(photos / "b", copy)
    settings = prepare(model.loaded, f"folder:{copy}", batch_size=4).settings
    parts = run.Parts(out, settings)
    parts.folder.mkdir()
    parts.open(force=False)
    changed = bytearray((copy / "0.png").read_bytes())
    changed[-20] ^= 255
    (copy / "0.png").write_bytes(changed)
    with pytest.raises(EmbedError, match="with other content of files in the source: repeat"):
        prepare(model.loaded, f"folder:{copy}", batch_size=4).write(out)


def test_force_begins_anew_where_the_command_is_the_same(model, photos, tmp_path):
    out = tmp_path / "f.npz"
    embedding = prepare(model.loaded, f"folder:{photos}", batch_size=4)
    parts = run.Parts(out, embedding.settings)
    parts.folder.mkdir()
    parts.open(force=False)
    (parts.folder / "000000.npz").write_bytes(b"rows of old content")
    assert embedding.write(out, force=True).bad == 1


KILLED = """
import os, signal, sys
from maskmim import embed
from maskmim.embedding import parts, run
run.PART_SECONDS, add = 0.0, parts.Parts.add
def then_die(self, part):
    add(self, part)
    os.kill(os.getpid(), signal.SIGKILL)
parts.Parts.add = then_die
embed.main(sys.argv[1:])
"""


@pytest.mark.full
def test_a_killed_run_continues(workdir, photos, tmp_path, capsys):
    whole = tmp_path / "whole.safetensors"
    assert embed.main(command(workdir, photos, whole)) == 0
    out = tmp_path / "f.safetensors"
    words = [sys.executable, "-c", KILLED, *command(workdir, photos, out)]
    done = subprocess.run(words, cwd=ROOT, env=environment(**as_tests()), capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not out.exists()
    assert embed.main(command(workdir, photos, out)) == 0
    assert "continuing at file 5 of 11" in capsys.readouterr().out
    assert out.read_bytes() == whole.read_bytes()


def test_force_begins_anew(model, photos, tmp_path):
    out = tmp_path / "f.npz"
    parts = run.Parts(out, {"pooling": "class"})
    parts.folder.mkdir()
    parts.open(force=False)
    (parts.folder / "000000.npz").write_bytes(b"of other rows")
    made = prepare(model.loaded, f"folder:{photos}", batch_size=4).write(out, force=True)
    assert made.bad == 1
    with np.load(out) as stored:
        assert "label/class" not in stored.files and len(stored["names"]) == 10


@pytest.mark.full
@pytest.mark.parametrize(
    ("pooling", "layers", "shape"),
    [("class_mean", None, (64,)), ("tokens", None, (16, 32)), ("class", (-1, 0), (2, 32))],
)
def test_poolings_and_layers(model, photos, tmp_path, pooling, layers, shape):
    out = tmp_path / "f.npz"
    prepare(model.loaded, f"folder:{photos}/b", batch_size=4, pooling=pooling, layers=layers).write(
        out
    )
    given = None if pooling == "tokens" else pooling
    with np.load(out) as stored:
        assert stored["features"].shape == (5, *shape)
        encoded = model.encode(photos / "b", pooling=given, layers=layers)
        np.testing.assert_array_equal(stored["features"], encoded)


@pytest.mark.full
def test_the_rows_are_those_that_probes_see(model, workdir, tmp_path):
    out = tmp_path / "f.npz"
    assert embed.main([f"--source={workdir}", "--data=run:test", f"--out={out}"]) == 0
    loaded = model.loaded
    bricks = bind_evals(loaded.config)
    batches = eval_batches(
        bricks.test(),
        spec=loaded.spec,
        batch_size=64,
        decode=bricks.decode,
        transform=bricks.transform,
    )
    pooled = pooled_encoder(loaded.method.apply["encode"], pooling="mean")
    split = extract(lambda arrays: pooled(loaded.variables, arrays), batches)
    with np.load(out) as stored:
        np.testing.assert_allclose(stored["features"], split.features, atol=REORDERED)
        for key, labels in split.labels.items():
            np.testing.assert_array_equal(stored[f"label/{key}"], labels)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pooling": "max"}, InferenceError, "pooling='max': use one of"),
        ({"layers": (7,)}, InferenceError, "layer=7: the blocks are 0 to"),
        ({"cut": Cut(2.0, 1.0)}, EmbedError, "this model sees pictures"),
    ],
)
def test_what_the_model_lacks_is_said_before_anything(model, photos, options, error, message):
    with pytest.raises(error, match=message):
        prepare(model.loaded, f"folder:{photos}", **options)


def test_a_source_without_a_readable_file(model, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
    embedding = prepare(model.loaded, f"folder:{tmp_path}", batch_size=4)
    with pytest.raises(run.TooManyBadImages, match=r"none of the 2 files can be read"):
        embedding.write(tmp_path / "f.npz")
    assert (tmp_path / "f.npz.bad_files.txt").read_text().count("\n") == 2
    assert not os.path.lexists(tmp_path / "f.npz")
