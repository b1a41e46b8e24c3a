"""ImageNet-1k as downloaded: the official tar files, or folders unpacked from them.

For each split the first of these that a folder holds is read:

  train   ILSVRC2012_img_train.tar (a tar of one tar per class), or train/ with one folder, or one
          tar file, per class
  val     ILSVRC2012_img_val.tar (50,000 images without folders), or val/ with the same images, or
          val/ with one folder per class

Images without class folders get their classes from the first of: the file passed as val_labels,
the devkit (ILSVRC2012_devkit_t12.tar.gz, or its folder), Kaggle's LOC_val_solution.csv. Classes are
WordNet ids such as n01440764; the index of a class is its index among the sorted ids.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io
from tqdm import tqdm

from maskmim.data import folder, listing
from maskmim.data.archives import ArchiveRecords, Member, list_members, list_tar_members, unlabelled
from maskmim.data.folder import LABEL_SET
from maskmim.data.records import DataError, Example, Records, class_names
from maskmim.errors import count_of
from maskmim.imagenet import TRAIN_IMAGES

DEVKIT = "ILSVRC2012_devkit_t12"
SOLUTION = "LOC_val_solution.csv"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
SPLITS = ("train", "val")
PUBLISHED = {"train": TRAIN_IMAGES, "val": 50_000}
CLASS_TAR = re.compile(r"(?:.*/)?(n\d{8})\.tar")
ID = re.compile(r"n\d{8}")


class Labelled:
    """Unlabelled records with a class assigned to each.

    numbers: the class index of each record. classes: names of the classes.
    """

    def __init__(self, records: Records, numbers: Sequence[int], classes: Sequence[str]):
        self.labels = class_names({LABEL_SET: classes})
        self.fingerprint = records.fingerprint
        self._records = records
        self._numbers = np.asarray(numbers, np.int32)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        return Example(self._records[index].encoded, {LABEL_SET: int(self._numbers[index])})

    def name(self, index: int) -> str:
        """Return the name of the image."""
        return self._records.name(index)


def open_splits(root: Path, only: str = "", val_labels: str = "") -> dict[str, Records]:
    """Open the splits of ImageNet in a folder: {'train', 'val': records} with the same classes.

    only: one of the names, for that split alone. val_labels: a file with lines 'image, WordNet id',
    see `read_solution`. Opening the training tar reads the headers of its images, over a minute.
    Raises DataError where something is missing, incomplete or without classes.
    """
    with listing.readable():
        return _open_splits(root, only, val_labels)


def _open_splits(root: Path, only: str, val_labels: str) -> dict[str, Records]:
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: name the one with ILSVRC2012_img_train.tar")
    if only not in ("", *SPLITS):
        raise DataError(f"--only {only!r}: the splits are {' and '.join(SPLITS)}")
    splits: dict[str, Records] = {}
    if only != "val":
        splits["train"] = open_train(root)
    if only != "train":
        classes = splits["train"].labels[LABEL_SET] if splits else ()
        splits["val"] = open_validation(root, classes, val_labels)
    return splits


def open_train(root: Path) -> Records:
    """Open the training images; their names are as 'n01440764/n01440764_10026.JPEG'."""
    archive, unpacked = root / "ILSVRC2012_img_train.tar", root / "train"
    if archive.is_file():
        entries, _ = list_members(archive)
        tars = [(m.name, archive, m.offset, m.offset + m.size) for m in entries]
    elif unpacked.is_dir() and any(unpacked.glob("n*.tar")):
        paths = sorted(unpacked.glob("n*.tar"))
        tars = [(path.name, path, 0, path.stat().st_size) for path in paths]
    elif unpacked.is_dir():
        return folder.labelled(path=str(unpacked))
    else:
        raise DataError(f"neither {archive} nor {unpacked} exists: add one, or use --only val")
    members: list[Member] = []
    passed = 0
    for name, path, start, end in tqdm(tars, desc="read tables", unit=" tars", disable=None):
        wnid = CLASS_TAR.fullmatch(name)
        if not wnid:
            raise DataError(f"{path} holds {name}: expected tar files named as n01440764.tar")
        with path.open("rb") as file:
            images, skipped = list_tar_members(file, path, start, end)
        members += [
            m._replace(name=f"{wnid[1]}/{m.name}")
            for m in images
            if not listing.is_hidden(m.name.rpartition("/")[2])
        ]
        passed += skipped
    if not members:
        raise DataError(f"{archive if archive.is_file() else unpacked} holds no images")
    return ArchiveRecords(members, passed, sorted({m.name.split("/")[0] for m in members}))


def open_validation(root: Path, classes: Sequence[str], val_labels: str = "") -> Records:
    """Open the validation images.

    classes: of the training images, or () for those that the labels name.
    """
    archive, unpacked = root / "ILSVRC2012_img_val.tar", root / "val"
    if archive.is_file():
        images: Records = unlabelled(path=str(archive))
    elif unpacked.is_dir() and any(ID.fullmatch(entry.name) for entry in unpacked.iterdir()):
        return folder.labelled(path=str(unpacked), classes=classes)
    elif unpacked.is_dir():
        images = folder.unlabelled(path=str(unpacked))
    else:
        raise DataError(f"neither {archive} nor {unpacked} exists: add one, or use --only train")
    wnids = validation_wnids(root, val_labels)
    names = [images.name(index) for index in range(len(images))]
    absent = [name for name in names if _stem(name) not in wnids]
    if absent:
        missing = count_of(len(absent), "validation image")
        raise DataError(f"without a class: {missing}, first {absent[0]}")
    classes = classes or sorted(set(wnids.values()))
    unknown = sorted(set(wnids.values()) - set(classes))
    if unknown:
        raise DataError(
            f"the validation images have {len(unknown)} classes that the training images lack, "
            f"first {unknown[0]}: is the training set complete?"
        )
    numbers = {wnid: index for index, wnid in enumerate(classes)}
    return Labelled(images, [numbers[wnids[_stem(name)]] for name in names], classes)


def validation_wnids(root: Path, val_labels: str = "") -> dict[str, str]:
    """Return {name of a validation image without suffix: WordNet id}.

    Raises DataError where no file gives the classes.
    """
    kit, unpacked, solution = root / f"{DEVKIT}.tar.gz", root / DEVKIT, root / SOLUTION
    if val_labels:
        return read_solution(Path(val_labels).expanduser())
    if kit.is_file() or unpacked.is_dir():
        truth, meta = (_read_from_devkit(kit, unpacked, name) for name in (TRUTH, "meta.mat"))
        return devkit_wnids(truth, meta)
    if solution.is_file():
        return read_solution(solution)
    raise DataError(
        f"no file in {root} gives the classes of the validation images: add {kit.name} (from the "
        f"same page as the images) or {SOLUTION}, or name a file with --val-labels"
    )


def read_solution(path: Path) -> dict[str, str]:
    """Read labels from lines 'image id ...' as in LOC_val_solution.csv, by commas or spaces.

    Skips a header line. Raises DataError for any other line without a WordNet id.
    """
    if not path.is_file():
        raise DataError(
            f"{path} does not exist: name a file of 'image, WordNet id' lines with --val-labels"
        )
    wnids = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines()):
        words = line.replace(",", " ").split()
        if len(words) > 1 and ID.fullmatch(words[1]):
            wnids[_stem(words[0])] = words[1]
        elif words and number:
            raise DataError(f"{path}, line {number + 1}: expected 'image, n01440764', not {line!r}")
    return wnids


def devkit_wnids(truth: bytes, meta: bytes) -> dict[str, str]:
    """Return the labels of the devkit, {name of a validation image without suffix: WordNet id}.

    truth: line i is the ILSVRC2012_ID of image i. meta: the file meta.mat, which maps these ids to
    WordNet ids. Raises DataError where the files have another format.
    """
    try:
        synsets = np.atleast_1d(scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
        wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
        numbers = [int(line) for line in truth.split()]
        return {f"ILSVRC2012_val_{i:08d}": wnids[n] for i, n in enumerate(numbers, start=1)}
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise DataError(
            f"the devkit has an unknown format ({error!r}): download {DEVKIT} again"
        ) from error


def _read_from_devkit(archive: Path, unpacked: Path, name: str) -> bytes:
    """Read a file of the devkit's folder data, from the tar.gz or the unpacked folder."""
    try:
        if unpacked.is_dir():
            return (unpacked / "data" / name).read_bytes()
        with tarfile.open(archive, "r:*") as kit:
            member = kit.extractfile(f"{DEVKIT}/data/{name}")
            if member is None:
                raise KeyError(name)
            return member.read(1 << 26)  # a forged one must not fill the memory
    except (OSError, KeyError, tarfile.TarError, EOFError) as error:
        raise DataError(
            f"the devkit {archive} lacks {name} ({error}): download it again"
        ) from error


def _stem(name: str) -> str:
    """Return the name of an image without folders and suffix."""
    return name.rpartition("/")[2].partition(".")[0]
