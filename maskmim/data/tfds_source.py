"""Datasets by name through tensorflow-datasets, without TensorFlow."""

from __future__ import annotations

from typing import Any

from maskmim.data.extras import import_extra
from maskmim.data.records import BadImage, DataError, Example, class_names, manifest_digest

# Features that may hold the name of the image.
_NAMES = ("file_name", "filename", "image/filename", "image_name", "id")


class TfdsRecords:
    """Records of one split of a prepared dataset; every scalar class label is a label set."""

    def __init__(self, source: Any, builder: Any, split: str, image: str):
        features = builder.info.features
        self.labels = class_names({key: features[key].names for key in _class_labels(features)})
        self._names = next((key for key in _NAMES if key in features), None)
        self._title = f"{builder.info.full_name}/{split}"
        self._image = image
        self._source = source
        # The manifest lists shards and which of their records are taken.
        self.fingerprint = manifest_digest(
            (f"{builder.info.full_name}/{part.filename.rsplit('/', 1)[-1]}@{part.skip}", part.take)
            for part in builder.info.splits[split].file_instructions
        )

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        features = self._features(index)
        return Example(features[self._image], {key: int(features[key]) for key in self.labels})

    def name(self, index: int) -> str:
        """Return dataset, split and index, and the file name where the dataset has one."""
        title = f"{self._title}[{index}]"
        if self._names is None:
            return title
        try:
            name = self._features(index)[self._names]
        except BadImage:
            return title
        return f"{title} {name.decode(errors='replace') if isinstance(name, bytes) else name}"

    def _features(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        try:
            return self._source[index]
        except RuntimeError as error:  # a wrong checksum in the shard
            raise BadImage.of(error) from error


def tfds(*, name: str, split: str, data_dir: str = "", image: str = "image") -> TfdsRecords:
    """Return a split of a dataset of tensorflow-datasets that was prepared as ArrayRecord.

    name:     as in tfds, optionally with configuration and version: 'imagenet2012',
              'cifar100:3.0.2'. split: any expression of tfds: 'train', 'train[:90%]'.
    data_dir: the directory of prepared datasets; empty for the default of tensorflow-datasets.
    image:    the feature with the picture; maskmim decodes its bytes.
    Label sets are the dataset's scalar ClassLabel features, by name.
    Reads a directory prepared with file_format='array_record' on any machine, without TensorFlow.
    Downloads and prepares nothing.
    Raises DataError where the dataset, the split or the picture is missing, or for other formats.
    """
    tensorflow_datasets = import_extra(
        "tensorflow_datasets", name="tfds", what="a dataset prepared by TFDS"
    )
    where = data_dir or "the default directory of tensorflow-datasets"
    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir or None, try_gcs=False)
    except tensorflow_datasets.core.registered.DatasetNotFoundError:
        raise DataError(
            f"the dataset {name!r} is neither in tensorflow-datasets nor in {where}: check its "
            "name, or set data_dir"
        ) from None
    if not builder.info.splits:
        raise DataError(
            f"the dataset {name!r} is not prepared in {where}: prepare it once with "
            f"tfds build {name} --file_format=array_record (which may need TensorFlow), or set "
            "data_dir to its directory"
        )
    features = builder.info.features
    if image not in features:
        raise DataError(f"the dataset {name!r} has no feature {image!r}, only {sorted(features)}")
    try:
        decoders = {image: tensorflow_datasets.decode.SkipDecoding()}
        source = builder.as_data_source(split=split, decoders=decoders)
    except NotImplementedError:
        raise DataError(
            f"the dataset {name!r} in {where} was prepared in a format without random access: "
            f"prepare it again with tfds build {name} --file_format=array_record"
        ) from None
    except (ValueError, KeyError) as error:
        splits = ", ".join(sorted(builder.info.splits))
        raise DataError(
            f"the dataset {name!r} has no split {split!r} ({error}): it has {splits}"
        ) from None
    return TfdsRecords(source, builder, split, image)


def _class_labels(features: Any) -> list[str]:
    """Return the keys of the scalar class labels: features with names and without a shape."""
    return [
        key
        for key, feature in features.items()
        if getattr(feature, "names", None) and getattr(feature, "shape", None) == ()
    ]
