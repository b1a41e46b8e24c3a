"""The Grocery Store photographs, shipped with the package (MIT licence)."""

from __future__ import annotations

from pathlib import Path

from maskmim.data.array_record import ShardRecords
from maskmim.data.records import DataError
from maskmim.data.shard_format import read_index

FOLDER = Path(__file__).parent / "grocery"
SPLITS = ("train", "val", "test")


def grocery(*, split: str) -> ShardRecords:
    """Return the embedded photographs of fruit, vegetables and cartons.

    The short side has 96 pixels.
    split: 'train' (2,640), 'val' (296), 'test' (2,485) or several joined by +, as 'train+val'.
    Label sets: 'fine' (81 classes) and 'coarse' (43 classes: the paper says 42, its lists and
    classes.csv have 43).
    Raises DataError for an unknown split.
    Source: Klasson et al., A Hierarchical Grocery Store Image Dataset (arXiv 1901.00711),
    repository marcusklasson/GroceryStoreDataset; official splits. Reduced by
    tools.build_grocery.
    """
    parts = split.split("+")
    unknown = [part for part in parts if part not in SPLITS]
    if unknown or len(set(parts)) != len(parts):
        raise DataError(
            f"the grocery photographs have no split {split!r}: set split to train, val or test, or "
            "to several of them joined by +, such as train+val"
        )
    index = read_index(FOLDER)
    by_tag = {shard.tag: shard for shard in index.shards}
    return ShardRecords(FOLDER, [by_tag[part] for part in parts], index.labels)
