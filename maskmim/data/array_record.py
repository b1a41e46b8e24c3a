"""Images from ArrayRecord shards, as `python -m maskmim.data.convert` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from array_record.python.array_record_data_source import ArrayRecordDataSource

from maskmim.data.records import DataError, Example, class_names, manifest_digest
from maskmim.data.shard_format import Shard, read_index, unpack


class ShardRecords:
    """Records of some shards of one folder, in the order of the shards.

    Raises DataError where a shard is missing or does not hold as many records as the index says.
    """

    def __init__(
        self, folder: Path, shards: Sequence[Shard], labels: Mapping[str, tuple[str, ...]]
    ):
        self.labels = class_names(labels)
        self.fingerprint = manifest_digest((shard.manifest, shard.records) for shard in shards)
        missing = [shard.file for shard in shards if not (folder / shard.file).is_file()]
        if missing:
            raise DataError(
                f"{folder} lacks {len(missing)} of {len(shards)} shards, first {missing[0]}: "
                "copy the folder again or run python -m maskmim.data.convert again"
            )
        expected = sum(shard.records for shard in shards)
        if not expected:
            raise DataError(f"the shards in {folder} hold no images: convert a folder with images")
        self._source = ArrayRecordDataSource([str(folder / shard.file) for shard in shards])
        if len(self._source) != expected:
            raise DataError(
                f"the shards in {folder} hold {len(self._source)} images, their index says "
                f"{expected}: run python -m maskmim.data.convert again"
            )

    def __len__(self) -> int:
        return len(self._source)

    def _unpacked(self, index: int) -> tuple[str, Example]:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return unpack(self._source[index])

    def __getitem__(self, index: int) -> Example:
        return self._unpacked(index)[1]

    def name(self, index: int) -> str:
        """The name that the image had when the shard was written."""
        return self._unpacked(index)[0]


def shards(*, path: str, tag: str = "") -> ShardRecords:
    """Records of a folder that `python -m maskmim.data.convert` wrote.

    path: the folder with `index.json`. tag: only shards with this tag; empty for all.
    Raises DataError where the folder, the index or shards are missing.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"there is no folder {path}: name the folder that convert wrote")
    index = read_index(folder)
    chosen = [shard for shard in index.shards if not tag or shard.tag == tag]
    if not chosen:
        tags = sorted({shard.tag for shard in index.shards})
        raise DataError(f"{path} has no shards with the tag {tag!r}, only {tags}")
    return ShardRecords(folder, chosen, index.labels)
