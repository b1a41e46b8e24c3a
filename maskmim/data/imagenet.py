"""ImageNet-1k as it is downloaded: the official tar files, or folders unpacked from them.

A folder with any of these is read, the first that is there for each split:

  train   ILSVRC2012_img_train.tar (a tar of one tar per class), or train/ with one folder, or one
          tar file, per class
  val     ILSVRC2012_img_val.tar (50,000 images side by side), or val/ with the same images, or
          val/ with one folder per class

Images that lie side by side get their classes from the first of: a file that is named, the devkit
(ILSVRC2012_devkit_t12.tar.gz, or its folder), LOC_val_solution.csv (Kaggle's). Classes are WordNet
ids such as n01440764, and the index of a class is its place among the sorted ids, as everywhere.
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

from maskmim.data import folder
from maskmim.data.archives import ArchiveRecords, Member, table, tar_table, unlabelled
from maskmim.data.folder import LABEL_SET
from maskmim.data.records import DataError, Example, Records, class_names
from maskmim.imagenet import TRAIN_IMAGES

DEVKIT = "ILSVRC2012_devkit_t12"
SOLUTION = "LOC_val_solution.csv"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
SPLITS = ("train", "val")
PUBLISHED = {"train": TRAIN_IMAGES, "val": 50_000}
CLASS_TAR = re.compile(r"(?:.*/)?(n\d{8})\.tar")
ID = re.compile(r"n\d{8}")


class Labelled:
    """Records that have no classes of their own, with one given to each.

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
        """The name of the image."""
        return self._records.name(index)


def splits(root: Path, only: str = "", val_labels: str = "") -> dict[str, Records]:
    """The splits of ImageNet in a folder by name, 'train' and 'val', with the same classes.

    only: one of the names, for that split alone. val_labels: a file with lines 'image, WordNet id',
    see `solution`. Opening the training tar reads the headers of its images, over a minute.
    Raises DataError where something is missing, incomplete or without classes.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}: name the one with ILSVRC2012_img_train.tar")
    if only not in ("", *SPLITS):
        raise DataError(f"--only {only!r}: the splits are {' and '.join(SPLITS)}")
    found: dict[str, Records] = {}
    if only != "val":
        found["train"] = train(root)
    if only != "train":
        given = found["train"].labels[LABEL_SET] if found else ()
        found["val"] = validation(root, given, val_labels)
    return found


def train(root: Path) -> Records:
    """The training images; names are 'n01440764/n01440764_10026.JPEG'."""
    whole, loose = root / "ILSVRC2012_img_train.tar", root / "train"
    if whole.is_file():
        entries, _ = table(whole)
        tars = [(m.name, whole, m.offset, m.offset + m.size) for m in entries]
    elif loose.is_dir() and any(loose.glob("n*.tar")):
        tars = [(path.name, path, 0, path.stat().st_size) for path in sorted(loose.glob("n*.tar"))]
    elif loose.is_dir():
        return folder.labelled(path=str(loose))
    else:
        raise DataError(f"there is neither {whole} nor {loose}: put one there, or use --only val")
    members: list[Member] = []
    passed = 0
    for name, path, start, end in tqdm(tars, desc="read tables", unit=" tars", disable=None):
        wnid = CLASS_TAR.fullmatch(name)
        if not wnid:
            raise DataError(f"{path} holds {name}: tar files named n01440764.tar are expected")
        with path.open("rb") as file:
            inside, left = tar_table(file, path, start, end)
        members += [m._replace(name=f"{wnid[1]}/{m.name}") for m in inside]
        passed += left
    if not members:
        raise DataError(f"{whole if whole.is_file() else loose} holds no images")
    return ArchiveRecords(members, passed, sorted({m.name.split("/")[0] for m in members}))


def validation(root: Path, classes: Sequence[str], val_labels: str = "") -> Records:
    """The validation images.

    classes: of the training images, or () for those that the labels name.
    """
    whole, loose = root / "ILSVRC2012_img_val.tar", root / "val"
    if whole.is_file():
        images: Records = unlabelled(path=str(whole))
    elif loose.is_dir() and any(ID.fullmatch(entry.name) for entry in loose.iterdir()):
        return folder.labelled(path=str(loose), classes=classes)
    elif loose.is_dir():
        images = folder.unlabelled(path=str(loose))
    else:
        raise DataError(f"there is neither {whole} nor {loose}: put one there, or use --only train")
    wnids = ids_of_validation(root, val_labels)
    names = [images.name(index) for index in range(len(images))]
    absent = [name for name in names if _stem(name) not in wnids]
    if absent:
        raise DataError(f"{len(absent)} validation images have no class, first {absent[0]}")
    classes = classes or sorted(set(wnids.values()))
    strange = sorted(set(wnids.values()) - set(classes))
    if strange:
        raise DataError(
            f"the validation images are of {len(strange)} classes that the training images lack, "
            f"first {strange[0]}: is the training set complete?"
        )
    number = {wnid: index for index, wnid in enumerate(classes)}
    return Labelled(images, [number[wnids[_stem(name)]] for name in names], classes)


def ids_of_validation(root: Path, val_labels: str = "") -> dict[str, str]:
    """{name of a validation image without ending: WordNet id}; DataError where nothing tells."""
    kit, loose, table_file = root / f"{DEVKIT}.tar.gz", root / DEVKIT, root / SOLUTION
    if val_labels:
        return solution(Path(val_labels))
    if kit.is_file() or loose.is_dir():
        truth, meta = (_from_devkit(kit, loose, name) for name in (TRUTH, "meta.mat"))
        return devkit_ids(truth, meta)
    if table_file.is_file():
        return solution(table_file)
    raise DataError(
        f"nothing in {root} tells the classes of the validation images: put {kit.name} (from the "
        f"same page as the images) or {SOLUTION} there, or name a file with --val-labels"
    )


def solution(path: Path) -> dict[str, str]:
    """Labels from lines 'image id ...', as LOC_val_solution.csv has; parted by commas or blanks.

    A first line that names the columns is passed over. Raises DataError for any other strange line.
    """
    if not path.is_file():
        raise DataError(
            f"there is no file {path}: --val-labels names a file of 'image, WordNet id'"
        )
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines()):
        words = line.replace(",", " ").split()
        if len(words) > 1 and ID.fullmatch(words[1]):
            found[_stem(words[0])] = words[1]
        elif words and number:
            raise DataError(f"{path}, line {number + 1}: 'image, n01440764' expected, not {line!r}")
    return found


def devkit_ids(truth: bytes, meta: bytes) -> dict[str, str]:
    """Labels from the devkit: line i of the truth is the ILSVRC2012_ID of image i, and meta.mat

    says which WordNet id that is. Raises DataError where the files are of another kind.
    """
    try:
        synsets = np.atleast_1d(scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
        wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
        numbers = [int(line) for line in truth.split()]
        return {f"ILSVRC2012_val_{i:08d}": wnids[n] for i, n in enumerate(numbers, start=1)}
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise DataError(
            f"the devkit cannot be understood ({error!r}): get {DEVKIT} again"
        ) from error


def _from_devkit(packed: Path, loose: Path, name: str) -> bytes:
    """A file of the devkit's folder data, from the tar.gz or the unpacked folder."""
    try:
        if loose.is_dir():
            return (loose / "data" / name).read_bytes()
        with tarfile.open(packed, "r:*") as kit:
            held = kit.extractfile(f"{DEVKIT}/data/{name}")
            if held is None:
                raise KeyError(name)
            return held.read(1 << 26)  # a forged one must not fill the memory
    except (OSError, KeyError, tarfile.TarError, EOFError) as error:
        raise DataError(
            f"the devkit beside {packed} lacks {name} ({error}): get it again"
        ) from error


def _stem(name: str) -> str:
    """The name of an image without folders and ending."""
    return name.rpartition("/")[2].partition(".")[0]
