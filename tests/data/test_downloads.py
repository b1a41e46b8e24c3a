"""CIFAR-10, Tiny-ImageNet and TFDS from small files in their layouts."""

import json
import subprocess
import sys

import numpy as np
import pytest

from maskmim.data import cifar10
from maskmim.data.decode import decode
from maskmim.data.records import DataError, Example, Records
from maskmim.data.tfds_source import tfds
from maskmim.data.tiny_imagenet import tiny_imagenet
from tests.data import files

COUNT = 6


def cifar_pictures(batch):
    return np.random.default_rng(batch).integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)


def write_mosaics(folder):
    for batch, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        rows = cifar_pictures(batch).reshape(COUNT, 1024, 3)
        files.write(folder, {f"{name}.png": files.encoded(rows, "PNG")})
    labels = np.arange(5 * COUNT) % 10
    files.write(folder, {"train_lables.json": json.dumps(labels.tolist()).encode()})
    files.write(folder, {"test_lables.json": json.dumps(labels[:COUNT].tolist()).encode()})


def write_binary(folder):
    for batch, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        content = b""
        for number, picture in enumerate(cifar_pictures(batch)):
            label = (batch % 5 * COUNT + number) % 10
            planes = b"".join(picture[..., c].tobytes() for c in range(3))
            content += bytes([label]) + planes
        files.write(folder, {f"{name}.bin": content})


@pytest.mark.parametrize(
    "write, source", [(write_mosaics, cifar10.mosaics), (write_binary, cifar10.binary)]
)
def test_cifar(tmp_path, write, source):
    write(tmp_path)
    train, test = (source(path=str(tmp_path), split=split) for split in ("train", "test"))
    assert isinstance(train, Records)
    assert (len(train), len(test)) == (5 * COUNT, COUNT)
    assert train.fingerprint != test.fingerprint
    for index in range(5 * COUNT):
        batch, place = divmod(index, COUNT)
        assert np.array_equal(train[index].encoded, cifar_pictures(batch)[place])
        assert train[index].labels == {"class": index % 10}
    assert np.array_equal(test[2].encoded, cifar_pictures(5)[2])
    assert train.labels["class"][:3] == ("airplane", "automobile", "bird")


def test_cifar_errors(tmp_path):
    with pytest.raises(DataError, match="no split 'val': set split to train or test"):
        cifar10.mosaics(path=str(tmp_path), split="val")
    with pytest.raises(DataError, match=r"data_batch_1\.png does not exist"):
        cifar10.mosaics(path=str(tmp_path), split="train")
    write_mosaics(tmp_path)
    (tmp_path / "test_lables.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="should hold 6 integers"):
        cifar10.mosaics(path=str(tmp_path), split="test")
    (tmp_path / "test_lables.json").write_text("[1, 2, 3, 4, 5, 10]")
    with pytest.raises(DataError, match="labels reach from 1 to 10"):
        cifar10.mosaics(path=str(tmp_path), split="test")
    write_binary(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(b"x" * 3074)
    with pytest.raises(DataError, match="not a multiple of 3073"):
        cifar10.binary(path=str(tmp_path), split="test")


def write_tiny_imagenet(folder):
    jpeg = [files.encoded(files.picture(i, (64, 64, 3)), "JPEG") for i in range(6)]
    train = {f"train/{w}/images/{w}_{i}.JPEG": jpeg[i] for w in ("n02", "n01") for i in (0, 1)}
    val = {f"val/images/val_{i}.JPEG": jpeg[i] for i in (2, 3, 4)}
    notes = "".join(
        f"val_{i}.JPEG\t{w}\t0\t0\t9\t9\n" for i, w in ((4, "n01"), (2, "n02"), (3, "n02"))
    )
    lists = {
        "wnids.txt": b"n02\nn01\n",
        "words.txt": b"n01\tgoldfish, Carassius\nn99\tother\nn02\ttoad\n",
        "val/val_annotations.txt": notes.encode(),
    }
    files.write(folder, train | val | lists)
    return jpeg


def test_tiny_imagenet(tmp_path):
    jpeg = write_tiny_imagenet(tmp_path)
    train, val = (tiny_imagenet(path=str(tmp_path), split=split) for split in ("train", "val"))
    assert isinstance(train, Records)
    assert train.labels == val.labels == {"class": ("n02 toad", "n01 goldfish, Carassius")}
    found = [(train.name(i), train[i].labels["class"]) for i in range(len(train))]
    assert found == [
        ("train/n01/images/n01_0.JPEG", 1),
        ("train/n01/images/n01_1.JPEG", 1),
        ("train/n02/images/n02_0.JPEG", 0),
        ("train/n02/images/n02_1.JPEG", 0),
    ]
    assert [val[i] for i in range(3)] == [
        Example(jpeg[4], {"class": 1}),
        Example(jpeg[2], {"class": 0}),
        Example(jpeg[3], {"class": 0}),
    ]
    assert train.fingerprint != val.fingerprint


def test_tiny_imagenet_errors(tmp_path):
    with pytest.raises(DataError, match=r"wnids.txt does not exist"):
        tiny_imagenet(path=str(tmp_path), split="train")
    write_tiny_imagenet(tmp_path)
    with pytest.raises(DataError, match="no split 'test' with labels"):
        tiny_imagenet(path=str(tmp_path), split="test")
    (tmp_path / "val" / "val_annotations.txt").write_text("val_2.JPEG\tn77\t0\n")
    with pytest.raises(DataError, match=r"'n77', which wnids\.txt lacks"):
        tiny_imagenet(path=str(tmp_path), split="val")
    (tmp_path / "val" / "val_annotations.txt").write_text("val_9.JPEG\tn01\t0\n")
    with pytest.raises(DataError, match=r"val_9\.JPEG does not exist"):
        tiny_imagenet(path=str(tmp_path), split="val")


PREPARE = """
import io, sys
import tensorflow_datasets as tfds
from tests.data import files

class Toy(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["no", "yes"]),
            "size": tfds.features.ClassLabel(num_classes=3),
            "file_name": tfds.features.Text(),
        }))
    def _split_generators(self, downloads):
        return {"train": self._generate_examples(9), "test": self._generate_examples(4)}
    def _generate_examples(self, count):
        for i in range(count):
            png = io.BytesIO(files.encoded(files.picture(i), "PNG"))
            yield i, {"image": png, "label": i % 2, "size": i % 3, "file_name": f"{i}.png"}

Toy(data_dir=sys.argv[1], file_format=sys.argv[2]).download_and_prepare()
assert "tensorflow" not in sys.modules
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A dataset that tensorflow-datasets itself prepared as ArrayRecord, without TensorFlow."""
    folder = tmp_path_factory.mktemp("tfds")
    command = [sys.executable, "-c", PREPARE, str(folder), "array_record"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return str(folder)


def test_a_prepared_directory_is_read_without_tensorflow(prepared):
    records = tfds(name="toy", split="train", data_dir=prepared)
    assert "tensorflow" not in sys.modules
    assert isinstance(records, Records) and len(records) == 9
    assert records.labels == {"label": ("no", "yes"), "size": ("0", "1", "2")}
    seen = set()
    for index in range(9):
        number = int(records.name(index).split()[-1].removesuffix(".png"))
        assert records.name(index).startswith(f"toy/1.0.0/train[{index}]")
        assert isinstance(records[index].encoded, bytes)
        assert np.array_equal(decode(records[index].encoded), files.picture(number))
        assert records[index].labels == {"label": number % 2, "size": number % 3}
        seen.add(number)
    assert seen == set(range(9))


def test_splits_of_tfds(prepared):
    counts = {"test": 4, "train+test": 13, "train[:4]": 4, "train[4:8]": 4, "train[50%:]": 5}
    found = {split: tfds(name="toy", split=split, data_dir=prepared) for split in counts}
    assert {split: len(records) for split, records in found.items()} == counts
    assert len({records.fingerprint for records in found.values()}) == len(counts)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "no_such_set"}, "'no_such_set' is neither in tensorflow-datasets"),
        ({"split": "validation"}, r"no split 'validation' .*it has test, train"),
        ({"image": "picture"}, r"no feature 'picture', only \['file_name', 'image'"),
        ({"name": "cifar10"}, "'cifar10' is not prepared in .*--file_format=array_record"),
    ],
)
def test_errors_of_tfds(prepared, options, message):
    with pytest.raises(DataError, match=message):
        tfds(**({"name": "toy", "split": "train", "data_dir": prepared} | options))
