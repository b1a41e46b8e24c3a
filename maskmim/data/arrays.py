"""Images in memory, as one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from maskmim.data.records import DataError, Example, class_names, manifest_digest


class ArrayRecords:
    """Records of an array of pictures.

    images:  u8[n, H, W, C]. labels: {label set: int[n]}. classes: {label set: class names}.
    title:   a record is named title[index].
    digest:  a value that changes with the content, for the fingerprint.
    Raises DataError where shapes, types or label sets do not fit.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: Mapping[str, np.ndarray],
        *,
        classes: Mapping[str, Sequence[str]],
        title: str,
        digest: str = "",
    ):
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(f"{title}: expected u8[n, H, W, C], got {images.dtype}{images.shape}")
        if set(labels) != set(classes) or any(len(v) != len(images) for v in labels.values()):
            raise DataError(f"{title}: needs one label per image for each of {sorted(classes)}")
        self.labels = class_names(classes)
        self.fingerprint = manifest_digest([(f"{title} {digest}", images.size)])
        self._images = images
        self._labels = {name: np.asarray(values, np.int32) for name, values in labels.items()}
        self._title = title

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        labels = {name: int(values[index]) for name, values in self._labels.items()}
        return Example(self._images[index], labels)

    def name(self, index: int) -> str:
        """Return the title and the index."""
        return f"{self._title}[{index}]"
