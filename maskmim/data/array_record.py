"""Images from the ArrayRecord shards that `python -m maskmim.convert` writes."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from array_record.python.array_record_data_source import ArrayRecordDataSource

from maskmim.data import listing
from maskmim.data.records import BadImage, DataError, Example, class_names, manifest_digest
from maskmim.data.shard_format import Shard, read_index, unpack
from maskmim.errors import count_of


class ShardRecords:
    """Records of some shards of one folder, in the order of the shards.

    A record that fails its shard's checksum is treated as a bad image.
    Raises DataError where a shard is missing, cannot be opened, or holds another number of records
    than the index says.
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
                "copy the folder again or run python -m maskmim.convert again"
            )
        expected = sum(shard.records for shard in shards)
        if not expected:
            raise DataError(f"the shards in {folder} hold no images: convert a folder with images")
        self._files = [folder / shard.file for shard in shards]
        self._ends = list(itertools.accumulate(shard.records for shard in shards))
        count = self._open()
        if count != expected:
            raise DataError(
                f"the shards in {folder} hold {count_of(count, 'image')}, their index says "
                f"{expected}: run python -m maskmim.convert again"
            )

    def _open(self) -> int:
        """Open the shards; return the number of their records."""
        try:
            self._source = ArrayRecordDataSource([str(path) for path in self._files])
            return len(self._source)
        except (RuntimeError, ValueError) as error:
            raise DataError(
                f"the shards in {self._files[0].parent} cannot be opened "
                f"({BadImage.of(error).reason}): copy the folder again, or find the damaged one "
                "with python -m maskmim.convert --verify"
            ) from error

    def __len__(self) -> int:
        return len(self._source)

    def _unpacked(self, index: int) -> tuple[str, Example]:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        try:
            packed = self._source[index]
        except RuntimeError as error:
            raise BadImage.of(error) from error
        return unpack(packed)

    def __getitem__(self, index: int) -> Example:
        return self._unpacked(index)[1]

    def name(self, index: int) -> str:
        """Return the image's name when the shard was written, for a damaged record its position."""
        try:
            return self._unpacked(index)[0]
        except BadImage:
            shard = bisect.bisect_right(self._ends, index)
            before = self._ends[shard - 1] if shard else 0
            return f"{self._files[shard].name}[{index - before}]"


def shards(*, path: str, tag: str = "") -> ShardRecords:
    """Return the records of a folder that `python -m maskmim.convert` wrote.

    path: the folder with `index.json`. tag: only shards with this tag; empty for all.
    Raises DataError where the folder, the index or shards are missing.
    """
    folder = Path(path).expanduser()
    with listing.readable():
        if not path or not folder.is_dir():
            raise DataError(
                f"{path!r} is not a folder: name the folder that python -m maskmim.convert wrote"
            )
        index = read_index(folder)
    chosen = [shard for shard in index.shards if not tag or shard.tag == tag]
    if not chosen:
        tags = sorted({shard.tag for shard in index.shards})
        raise DataError(f"{path} has no shards with the tag {tag!r}, only {tags}")
    return ShardRecords(folder, chosen, index.labels)
