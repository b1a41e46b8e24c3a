import hashlib
import pickle
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from maskmim.data.decode import decode
from maskmim.data.grocery import FOLDER, grocery
from maskmim.data.records import DataError, Records
from tests.data import files
from tools import build_grocery


def test_official_counts_and_classes():
    counts = {split: len(grocery(split=split)) for split in ("train", "val", "test", "train+val")}
    assert counts == {"train": 2640, "val": 296, "test": 2485, "train+val": 2936}
    records = grocery(split="train")
    assert isinstance(records, Records)
    assert {name: len(classes) for name, classes in records.labels.items()} == {
        "fine": 81,
        "coarse": 43,
    }


def test_labels_agree_with_the_paths_and_with_each_other():
    records = grocery(split="train+val+test")
    coarse_of = {}
    seen = {"fine": Counter(), "coarse": Counter()}
    for index in range(len(records)):
        labels = records[index].labels
        for name, counter in seen.items():
            counter[labels[name]] += 1
        coarse_of.setdefault(labels["fine"], set()).add(labels["coarse"])
        parts = records.name(index).split("/")
        assert records.labels["fine"][labels["fine"]] in parts
        assert records.labels["coarse"][labels["coarse"]] in records.name(index)
    assert sorted(seen["fine"]) == list(range(81))
    assert sorted(seen["coarse"]) == list(range(43))
    assert all(len(found) == 1 for found in coarse_of.values())


def test_it_is_small_and_comes_with_its_licence():
    shipped = [file for file in FOLDER.iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in shipped) <= 16_000_000
    assert "MIT License" in (FOLDER / "LICENSE").read_text()
    assert "Marcus Klasson" in (FOLDER / "LICENSE").read_text()
    assert "arXiv 1901.00711" in (FOLDER / "ATTRIBUTION").read_text()


def test_pictures_have_96_pixels_on_the_short_side_and_differ():
    records = grocery(split="val")
    digests = set()
    for index in range(len(records)):
        pixels = decode(records[index].encoded)
        assert min(pixels.shape[:2]) == 96 and max(pixels.shape[:2]) <= 128
        assert pixels.std() > 5
        digests.add(hashlib.sha256(pixels.tobytes()).digest())
    assert len(digests) == len(records)


def test_parts_of_a_sum_follow_each_other():
    both, train, val = (grocery(split=split) for split in ("train+val", "train", "val"))
    assert both.name(2639) == train.name(2639) and both.name(2640) == val.name(0)
    assert len({records.fingerprint for records in (both, train, val)}) == 3


def test_records_can_be_pickled():
    records = grocery(split="val")
    copy = pickle.loads(pickle.dumps(records))
    assert copy[17] == records[17] and copy.fingerprint == records.fingerprint


@pytest.mark.parametrize("split", ["", "training", "train+train", "train+"])
def test_unknown_splits_are_refused(split):
    with pytest.raises(DataError, match=r"train\+val"):
        grocery(split=split)


@pytest.mark.parametrize("index", [-1, 296])
def test_records_past_the_ends_are_refused(index):
    with pytest.raises(IndexError):
        grocery(split="val")[index]


def test_the_build_script_makes_such_a_folder(tmp_path):
    checkout = tmp_path / "checkout"
    upright = files.picture(1, (200, 150, 3))
    header = "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int)\n"
    content = {
        "LICENSE": b"MIT License",
        "dataset/classes.csv": (header + "Fuji,0,Apple,0\nGala,1,Apple,0\n").encode(),
    }
    for split in build_grocery.SPLITS:
        name = f"{split}/Fruit/Apple/Gala/Gala_001.jpg"
        turned = np.rot90(upright, -1 if split == "val" else 0).copy()
        block = files.exif(8 if split == "val" else 1)
        content[f"dataset/{name}"] = files.encoded(turned, "JPEG", quality=95, exif=block)
        content[f"dataset/{split}.txt"] = f"{name}, 1, 0\n".encode()
    files.write(checkout, content)
    out = tmp_path / "out"
    quality = build_grocery.build(checkout, out)
    assert quality == max(build_grocery.QUALITIES)

    from maskmim.data.array_record import shards

    for split in build_grocery.SPLITS:
        records = shards(path=str(out), tag=split)
        assert records.labels == {"fine": ("Fuji", "Gala"), "coarse": ("Apple",)}
        assert records[0].labels == {"fine": 1, "coarse": 0}
        pixels = decode(records[0].encoded).astype(int)
        expected = Image.fromarray(upright).resize((96, 128), Image.Resampling.LANCZOS)
        assert pixels.shape == (128, 96, 3)
        assert np.abs(pixels - np.asarray(expected)).mean() < 6
