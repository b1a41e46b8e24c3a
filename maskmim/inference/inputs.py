"""What users give to be encoded, as records that the evaluation's decoder reads."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from maskmim.config.facts import function_of
from maskmim.data import folder, sound_folder, video_folder
from maskmim.data.decode import MAX_PIXELS
from maskmim.data.decode_each import decoders_of, each
from maskmim.data.deep_images import fit_channels, stored
from maskmim.data.records import BadImage, Example, Records
from maskmim.data.sound import Sound, waveform
from maskmim.inference.loaded import InferenceError, sides
from maskmim.training.build import EvalBricks
from maskmim.types import Spec

# Numbers of axes of one example and of several, by what a stream is.
AXES = {"image": (2, 3, 4), "clip": (4, 5), "sound": (1, 2)}
FORMS = {
    "image": "arrays [H, W, C] or [N, H, W, C], PIL images, paths of files or a folder",
    "clip": "arrays [T, H, W, C] or [N, T, H, W, C], paths of files or a folder",
    "sound": "samples [n] or [N, n] at the rate of the run, maskmim.data.sound.Sound, paths of "
    "files or a folder",
}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class GivenRecords:
    """Records of things in memory and of files.

    items: of each example what `Example.encoded` is, or the path of a file, read when it is asked
           for; or {stream: that}.
    names: of each, for people.
    """

    def __init__(self, items: Sequence[Any], names: Sequence[str]):
        self.labels: Mapping[str, tuple[str, ...]] = {}
        self.fingerprint = ""
        self._items, self._names = items, names

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Example:
        item = self._items[index]
        if isinstance(item, dict):
            return Example({name: _content(part) for name, part in item.items()}, {})
        return Example(_content(item), {})

    def name(self, index: int) -> str:
        """Return the path of a file, 'image 3' of another thing."""
        return self._names[index]


def _content(item: Any) -> Any:
    """Return an item; of a path, the bytes of the file."""
    if not isinstance(item, Path):
        return item
    try:
        return item.read_bytes()
    except OSError as error:
        raise BadImage(error.strerror or str(error)) from error


class Kind(NamedTuple):
    """What an example is: 'image', 'clip' or 'sound', and whether it is one for each stream."""

    name: str
    by_stream: bool = False


def kind_of(spec: Spec, evals: EvalBricks) -> Kind:
    """Return what the decoder of evaluations reads."""
    decoders = [function_of(one) for one in decoders_of(evals.decode).values()]
    if waveform in decoders:
        return Kind("sound")
    return Kind(_by_axes(spec), function_of(evals.decode) is each)


def _by_axes(spec: Spec) -> str:
    return "clip" if len(spec.size) == 3 else "image"


def records_of(given: Any, spec: Spec, kind: Kind) -> Records:
    """Return records of what a user gives.

    given: see FORMS; a list of these; a data source of maskmim.data; {stream: one of these} for an
           input of several streams.
    Raises InferenceError for anything else, and DataError for a folder without such files.
    """
    if isinstance(given, Records):
        return given
    if isinstance(given, Mapping):
        return _of_streams(given, spec, kind)
    if kind.by_stream:
        raise InferenceError(
            f"this model sees {', '.join(spec.arrays)}: give a dict with some of them, such as "
            f"{{'{spec.stream}': images}}, or a data source of maskmim.data"
        )
    return _of_one_kind(given, spec, kind.name)


def _of_one_kind(given: Any, spec: Spec, kind: str) -> Records:
    """Return records of one stream. kind: a key of FORMS."""
    if isinstance(given, str | os.PathLike):
        path = Path(given).expanduser()
        if path.is_dir():
            return _of_folder(path, kind)
        given = [path]
    items = _split(given, kind)
    if not items:
        raise InferenceError(f"no {kind} was given: give {FORMS[kind]}")
    names = [
        str(item) if isinstance(item, str | os.PathLike) else f"{kind} {number}"
        for number, item in enumerate(items)
    ]
    named = zip(items, names, strict=True)
    return GivenRecords([_item(item, name, spec, kind) for item, name in named], names)


def _of_folder(path: Path, kind: str) -> Records:
    if kind == "sound":
        return sound_folder.recordings(path=str(path))
    module = video_folder if kind == "clip" else folder
    return module.unlabelled(path=str(path))


def _of_streams(given: Mapping[str, Any], spec: Spec, kind: Kind) -> Records:
    """Return records of several streams, given by name."""
    known = tuple(spec.arrays) if kind.by_stream else (spec.stream,)
    unknown = sorted(set(given) - set(known))
    if unknown or not given:
        made = "" if kind.by_stream or not spec.streams else ", which the others are made of"
        raise InferenceError(
            f"this model takes {', '.join(known)}{made}; given were "
            f"{', '.join(map(str, given)) or 'none'}: give what it takes"
        )
    if not kind.by_stream:
        return _of_one_kind(given[spec.stream], spec, kind.name)
    parts = {}
    for name, arrays in given.items():
        stream = spec.arrays[name]
        parts[name] = _of_one_kind(arrays, stream, _by_axes(stream))
    counts = {name: len(records) for name, records in parts.items()}
    if len(set(counts.values())) != 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InferenceError(f"the streams have different numbers of examples ({shown})")
    first = next(iter(parts.values()))
    items = [
        {name: records[index].encoded for name, records in parts.items()}
        for index in range(len(first))
    ]
    return GivenRecords(items, [first.name(index) for index in range(len(first))])


def _split(given: Any, kind: str) -> list[Any]:
    """Return the single examples among what is given."""
    if isinstance(given, list | tuple) and not isinstance(given, Sound):
        return list(given)
    if isinstance(given, bytes | Sound | Image.Image):
        return [given]
    array = _as_array(given, "this", kind)
    *single, several = AXES[kind]
    if array.ndim in single:
        return [array]
    if array.ndim == several:
        return list(array)
    raise InferenceError(f"an array of shape {list(array.shape)}: give {FORMS[kind]}")


def _item(item: Any, name: str, spec: Spec, kind: str) -> Any:
    """Return one example as a decoder reads it."""
    if isinstance(item, str | os.PathLike):
        path = Path(item).expanduser()
        if not path.exists():
            raise InferenceError(f"there is no file {str(item)!r}: give {FORMS[kind]}")
        if path.is_dir():
            raise InferenceError(f"{str(item)!r} is a folder in a list: give a folder alone")
        return path
    if isinstance(item, bytes | Sound):
        return item
    if isinstance(item, Image.Image):
        if kind != "image":
            raise InferenceError(
                f"{name} is a picture, this model sees {spec.stream}: give {FORMS[kind]}"
            )
        return _of_pillow(item, spec)
    array = _as_array(item, name, kind)
    if kind == "sound":
        return array.astype(np.float32)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != len(spec.size) + 1:
        raise InferenceError(f"{name} has the shape {list(array.shape)}: give {FORMS[kind]}")
    return _levels(array, name, spec) if spec.dtype == "uint8" else array


def _of_pillow(image: Image.Image, spec: Spec) -> Any:
    """Return the pixels of a Pillow image, upright; of one of more than 8 bits, a file of it."""
    if image.width * image.height > MAX_PIXELS:
        raise InferenceError(
            f"a picture of {image.width} x {image.height} pixels is above the limit of "
            f"{MAX_PIXELS:,}: reduce it first"
        )
    if image.mode.startswith("I") or image.mode == "F" or spec.channels not in MODES:
        content = io.BytesIO()
        image.save(content, "TIFF")
        return content.getvalue()
    try:
        upright = ImageOps.exif_transpose(image)
    except (ValueError, OSError) as error:
        raise InferenceError(f"a picture of Pillow cannot be read: {error}") from error
    if upright.mode in ("P", "PA") and "transparency" in upright.info:
        upright = upright.convert("RGBA")
    pixels = np.asarray(upright.convert(MODES[spec.channels]))
    return pixels.reshape(*pixels.shape[:2], spec.channels)


def _as_array(item: Any, name: str, kind: str) -> np.ndarray:
    """Return an array of numbers; raise InferenceError for what is none."""
    try:
        array = np.asarray(item)
    except (TypeError, ValueError) as error:
        raise InferenceError(f"{name} is no array ({error}): give {FORMS[kind]}") from None
    if array.dtype.kind == "O":
        raise InferenceError(f"{name} is {type(item).__name__}: give {FORMS[kind]}")
    what = f"{name} is {array.dtype}{list(array.shape)}"
    if array.dtype.kind not in "uif":
        raise InferenceError(f"{what}, whose values are no numbers: give {FORMS[kind]}")
    if 0 in array.shape:
        raise InferenceError(f"{what}, which is empty: give {FORMS[kind]}")
    return array


def _levels(array: np.ndarray, name: str, spec: Spec) -> np.ndarray:
    """Return pixels as levels u8[..., C] of the stream's channels.

    Floats are those of levels divided by 255. Grey, RGB and alpha become each other as in files.
    """
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f":
        if not (low >= 0 and high <= 1):
            raise InferenceError(
                f"{name} has numbers from {low:g} to {high:g}: give floats in [0, 1] (levels "
                "divided by 255; the model normalises them itself) or whole numbers from 0 to 255"
            )
        array = np.rint(array * 255)
    elif low < 0 or high > 255:
        raise InferenceError(
            f"{name} has whole numbers from {low:g} to {high:g}: give 0 to 255, or floats in [0, 1]"
        )
    array = array.astype(np.uint8)
    count = array.shape[-1]
    if count == spec.channels:
        return array
    colours = {1: 1, 2: 1, 3: 3, 4: 3}.get(count, 0)
    try:
        fitted = fit_channels(
            stored(array, colours=colours, alpha=count in (2, 4)), spec.channels, 255
        )
    except BadImage:
        first = array.shape[-3] in (1, 3, 4)
        hint = (
            ": channels come last, move the first of these axes behind the others"
            if first
            else ": give [H, W, C], and pictures of one channel as [N, H, W, 1] or one by one"
        )
        raise InferenceError(
            f"{name} has the shape {sides(array.shape)}, this model takes {spec.channels} "
            f"channels{hint}"
        ) from None
    return np.rint(fitted).astype(np.uint8)
