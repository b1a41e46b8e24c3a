import io
import re
import tarfile

import numpy as np
import pytest
import scipy.io

from maskmim import convert, errors
from maskmim.config.load import load, override
from maskmim.data import imagenet, shard_writer
from maskmim.data.array_record import shards
from maskmim.data.decode import decode
from maskmim.data.records import DataError
from tests.data import files
from tests.data.test_archives import tar
from tests.running import ROOT

WNIDS = ("n02105855", "n01440764", "n03000247")  # In the order of the devkit's numbers 1, 2, 3.
SORTED = ("n01440764", "n02105855", "n03000247")
TRUTH = (3, 1, 2, 2, 3, 1)


def training():
    """{class: {name: bytes}}, with the oddities of the original under their usual ending."""
    found = {
        wnid: {
            f"{wnid}_{i}.JPEG": files.encoded(files.picture(10 * k + i), "JPEG", quality=95)
            for i in (18, 2, 7)
        }
        for k, wnid in enumerate(WNIDS)
    }
    odd = files.odd_files()
    found["n02105855"]["n02105855_2933.JPEG"] = odd["alpha.png"]
    found["n01440764"]["n01440764_99.JPEG"] = odd["cmyk.jpg"]
    found["n03000247"]["n03000247_1.JPEG"] = odd["rotated.jpg"]
    return found


def validation():
    return {
        f"ILSVRC2012_val_{i:08d}.JPEG": files.encoded(files.picture(50 + i), "JPEG", quality=95)
        for i in range(1, len(TRUTH) + 1)
    }


def devkit(path):
    """A devkit as the official one: numbers of leaves first, then a synset with children."""
    names = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children")
    synsets = np.zeros((len(WNIDS) + 1, 1), [(name, "O") for name in names])
    for i, wnid in enumerate((*WNIDS, "n00001740")):
        leaf = wnid in WNIDS
        synsets[i, 0] = (np.uint16(i + 1), wnid, "a, b", "c", np.uint8(3 - 3 * leaf), [] if leaf
                         else [1, 2, 3])  # fmt: skip
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": synsets})
    content = {
        "meta.mat": meta.getvalue(),
        "ILSVRC2012_validation_ground_truth.txt": "".join(f"{n}\n" for n in TRUTH).encode(),
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/data/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def downloads(root):
    """A folder with the three official files, in small."""
    root.mkdir()
    inner = {w: tar(root / "inner.tar", images).read_bytes() for w, images in training().items()}
    (root / "inner.tar").unlink()
    tar(root / "ILSVRC2012_img_train.tar", {f"{wnid}.tar": data for wnid, data in inner.items()})
    tar(root / "ILSVRC2012_img_val.tar", dict(reversed(validation().items())))
    devkit(root / "ILSVRC2012_devkit_t12.tar.gz")
    return root


def unpacked(root):
    """The same as people unpack it, with Kaggle's file of labels."""
    for wnid, images in training().items():
        files.write(root / "train" / wnid, images)
    files.write(root / "val", validation())
    lines = ["ImageId,PredictionString"]
    for name, number in zip(validation(), TRUTH, strict=True):
        wnid = WNIDS[number - 1]
        lines.append(f"{name.partition('.')[0]},{wnid} 1 2 3 4 {wnid} 5 6 7 8 ")
    (root / "LOC_val_solution.csv").write_text("\n".join(reversed(lines[1:] + lines[:1])) + "\n")
    return root


def run(root, out, *options):
    words = ["--source", f"imagenet:{root}", "--out", str(out), "--shard-size", "4"]
    return convert.main([*words, *options])


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_official_files_become_shards_with_both_splits(tmp_path, capsys):
    assert run(downloads(tmp_path / "in"), tmp_path / "out") == errors.DONE
    said = capsys.readouterr().out
    assert "train: 12 images, ImageNet-1k has 1,281,167" in said and 'tag="val"' in said
    train = shards(path=str(tmp_path / "out"), tag="train")
    assert train.labels == {"class": SORTED} and len(train) == 12
    for index in range(12):
        wnid, name = train.name(index).split("/")
        assert train[index].encoded == training()[wnid][name]
        assert train[index].labels == {"class": SORTED.index(wnid)}
        assert decode(train[index].encoded).shape in ((20, 30, 3), (30, 20, 3))
    val = shards(path=str(tmp_path / "out"), tag="val")
    assert val.labels == train.labels and len(val) == 6
    for index, number in enumerate(TRUTH):
        assert val.name(index) == f"ILSVRC2012_val_{index + 1:08d}.JPEG"
        assert val[index].encoded == validation()[val.name(index)]
        assert val[index].labels == {"class": SORTED.index(WNIDS[number - 1])}
    assert not (tmp_path / "out" / "bad_files.txt").exists()
    assert convert.main(["--verify", str(tmp_path / "out")]) == errors.DONE


def test_tars_and_folders_give_the_same_shards(tmp_path):
    run(downloads(tmp_path / "tars"), tmp_path / "a")
    run(unpacked(tmp_path / "folders"), tmp_path / "b")
    loose = downloads(tmp_path / "loose")
    with tarfile.open(loose / "ILSVRC2012_img_train.tar") as archive:
        archive.extractall(loose / "train", filter="data")
    (loose / "ILSVRC2012_img_train.tar").unlink()
    run(loose, tmp_path / "c")
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")


def test_each_split_alone_and_validation_in_class_folders(tmp_path):
    root = downloads(tmp_path / "in")
    run(root, tmp_path / "train", "--only", "train")
    run(root, tmp_path / "val", "--only", "val")
    assert {s.tag for s in shard_writer.read_index(tmp_path / "train").shards} == {"train"}
    val = shards(path=str(tmp_path / "val"), tag="val")
    assert val.labels == {"class": SORTED}
    for index, (name, data) in enumerate(validation().items()):
        files.write(tmp_path / "sorted" / "val" / WNIDS[TRUTH[index] - 1], {name: data})
    found = imagenet.open_splits(tmp_path / "sorted", "val")["val"]
    by_name = {found.name(i).split("/")[1]: found[i] for i in range(6)}
    assert all(by_name[val.name(i)] == val[i] for i in range(6))


def test_a_named_file_of_labels_comes_first(tmp_path):
    root = downloads(tmp_path / "in")
    lines = [f"{name}\t{WNIDS[0]}" for name in validation()]
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    run(root, tmp_path / "out", "--val-labels", str(tmp_path / "labels.txt"))
    val = shards(path=str(tmp_path / "out"), tag="val")
    assert {val[i].labels["class"] for i in range(6)} == {SORTED.index(WNIDS[0])}


def harmed(root, harm):
    train, val = root / "ILSVRC2012_img_train.tar", root / "ILSVRC2012_img_val.tar"
    kit = root / "ILSVRC2012_devkit_t12.tar.gz"
    if harm == "train cut":
        train.write_bytes(train.read_bytes()[:7000])
    elif harm == "class tar cut":
        with tarfile.open(train) as archive:
            member = archive.getmembers()[1]
            inner = archive.extractfile(member).read()
        tar(train, {member.name: inner[: len(inner) - 10240]})
    elif harm == "not class tars":
        tar(train, {"cat/1.JPEG": b"x"})
    elif harm == "a class is lacking":
        with tarfile.open(train) as archive:
            inner = archive.extractfile("n02105855.tar").read()
        tar(train, {"n02105855.tar": inner})
    elif harm == "unknown image":
        tar(val, validation() | {"ILSVRC2012_val_00000007.JPEG": b"x"})
    elif harm == "devkit cut":
        kit.write_bytes(kit.read_bytes()[:300])
    elif harm == "no devkit":
        kit.unlink()
    else:
        {"no train": train, "no val": val}[harm].unlink()


@pytest.mark.parametrize(
    "harm, message",
    [
        ("train cut", "incomplete"),
        ("class tar cut", "incomplete|no end mark"),
        ("not class tars", "expected tar files named as n01440764.tar"),
        ("a class is lacking", r"2 classes that the training images lack, first n01440764"),
        ("unknown image", "without a class: 1 validation image, first ILSVRC2012_val_00000007"),
        ("devkit cut", "download it again"),
        ("no devkit", "name a file with --val-labels"),
        ("no train", "use --only val"),
        ("no val", "use --only train"),
    ],
)
def test_what_is_missing_or_wrong_is_told_before_anything_is_written(tmp_path, harm, message):
    root = downloads(tmp_path / "in")
    harmed(root, harm)
    with pytest.raises(DataError, match=message):
        run(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_strange_file_of_labels_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("image,id\na.JPEG,n01440764\nb.JPEG,7\n")
    with pytest.raises(DataError, match="line 3: expected 'image, n01440764'"):
        imagenet.read_solution(tmp_path / "labels.csv")


@pytest.mark.parametrize("option", ["--only", "--val-labels"])
def test_options_of_imagenet_are_refused_elsewhere(tmp_path, option):
    files.write(tmp_path / "in", validation())
    with pytest.raises(DataError, match="are for --source imagenet"):
        convert.main(
            ["--source", f"folder:{tmp_path / 'in'}", "--out", str(tmp_path / "out"), option, "val"]
        )


def test_the_training_command_of_the_docs_reads_the_shards():
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    command = text.partition("Train on the shards:")[2].split("```")[1]
    file = re.search(r"--config (\S+)", command)[1]
    config = override(load(file), re.findall(r"--config\.(\S+)", command))
    for section, tag in ((config.data.train, "train"), (config.evals.test, "val")):
        assert section.to_dict() == {
            "brick": "maskmim.data.array_record.shards",
            "path": "/data/imagenet",
            "tag": tag,
        }
    assert config.data.augment.brick == "maskmim.data.transforms.random_resized_crop_flip"
    assert config.data.augment.scale == (0.2, 1.0)
