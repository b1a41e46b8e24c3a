"""Pictures with a map of each: as crops to learn from, and whole to be tested on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np

from maskmim.config import kinds
from maskmim.config.ranges import FractionRange, NonNegativeInt, PositiveInt, Seed
from maskmim.data.decode import as_stored
from maskmim.data.decode_each import decoders_of, each
from maskmim.data.example_errors import naming
from maskmim.data.joint_crop import aspect_problem, joint_crop
from maskmim.data.label_maps import label_map
from maskmim.data.no_class import UnknownClass
from maskmim.data.pipeline import train_batches
from maskmim.data.records import BadImage, DataError, Records
from maskmim.data.scenes import EIGHT, Side, class_scenes, scenes
from maskmim.data.stream_folders import unlabelled
from maskmim.data.subset import Source
from maskmim.evals.features import Unsuitable
from maskmim.evals.trained import Trained, spread
from maskmim.evals.unreadable import watched
from maskmim.types import Field, Spec

Decoder = Annotated[Callable[..., np.ndarray], kinds.DECODER]
# Of the embedded photographs.
COARSE_CLASSES = 43


class MapData(NamedTuple):
    """Examples of which each has a picture and a map, to learn from and to test on.

    train, test: () -> records whose `encoded` holds both under their names.
    picture, target: these names. decode: of the target.
    classes: number of classes, 0 for amounts. void: index of pixels of no class.
    """

    train: Callable[[], Records]
    test: Callable[[], Records]
    picture: str
    target: str
    decode: Callable[..., np.ndarray]
    classes: int = 0
    void: int | None = None


class Pair(NamedTuple):
    """A picture u8 or f32[H, W, C] as it is stored, and its map [h, w] as it is stored."""

    picture: np.ndarray
    target: np.ndarray


def class_maps(
    *,
    train: Source,
    test: Source,
    classes: PositiveInt,
    void: NonNegativeInt | None = None,
    picture: str = "image",
    target: str = "classes",
) -> MapData:
    """Return pictures with maps of classes, PNG or TIFF of indices, or arrays.

    train, test: sources with several streams, such as `data.scenes.scenes` and
                 `data.stream_folders.unlabelled`.
    classes, void: as of `data.label_maps.label_map`: void may be any index, also one among the
                 classes; such pixels neither teach nor count. picture, target: names of streams.
    """
    decode = functools.partial(label_map, classes=classes, void=void)
    return MapData(train, test, picture, target, decode, classes, void)


def amounts(
    *,
    train: Source,
    test: Source,
    decode: Decoder = as_stored,
    picture: str = "image",
    target: str = "depth",
) -> MapData:
    """Return pictures with maps of amounts above 0, such as depth.

    decode: brick, to f32[h, w, 1]; 0 and less stand for no measurement.
    Other keywords are those of `class_maps`.
    """
    return MapData(train, test, picture, target, decode)


def folders(
    *,
    path: str,
    classes: PositiveInt,
    void: NonNegativeInt | None = None,
    train: tuple[str, str] = ("images/training", "annotations/training"),
    test: tuple[str, str] = ("images/validation", "annotations/validation"),
) -> MapData:
    """Return pictures and maps of classes in folders of files with equal names, but for the ending.

    path:  of the folder that holds the others. train, test: the folders of pictures and of maps
           below it, of any depth; by default those of ADE20K's ADEChallengeData2016, whose maps
           have 151 classes, 0 for none (void=0). Those of CamVid are train=("train", "trainannot"),
           test=("test", "testannot"), with 11 classes and void=11.
    classes, void: as of `class_maps`. Raises DataError as `data.stream_folders.unlabelled`.
    """

    def opened(pair: tuple[str, str]) -> Callable[[], Records]:
        streams = dict(zip(("image", "classes"), pair, strict=True))
        return functools.partial(unlabelled, path=path, streams=streams)

    return class_maps(train=opened(train), test=opened(test), classes=classes, void=void)


def scene_classes(
    *,
    count: PositiveInt = 256,
    test_count: PositiveInt = 96,
    size: tuple[Side, Side] = (96, 128),
    names: tuple[str, ...] = EIGHT,
    seed: Seed = 0,
    test_split: str = "test",
) -> MapData:
    """Return synthetic scenes with the class of the photograph that each pixel shows.

    count, test_count: numbers of scenes of training and of test photographs.
    test_split: of the photographs that are tested on; 'val' to choose hyperparameters by.
    Other keywords are those of `data.scenes.class_scenes`; names=() for all 43 classes. See
    `data.scenes.scenes` for what may be concluded from them.
    """
    given = {"size": size, "names": tuple(names), "seed": seed}
    learnt, tested = _splits(class_scenes, (("train", count), (test_split, test_count)), **given)
    return class_maps(train=learnt, test=tested, classes=len(names) or COARSE_CLASSES)


def scene_depth(
    *,
    count: PositiveInt = 256,
    test_count: PositiveInt = 96,
    size: tuple[Side, Side] = (96, 128),
    seed: Seed = 0,
    test_split: str = "test",
) -> MapData:
    """Return synthetic scenes with the distance of each pixel, from 1 to 4; see `scene_classes`."""
    learnt, tested = _splits(
        scenes, (("train", count), (test_split, test_count)), size=size, seed=seed
    )
    return amounts(train=learnt, test=tested)


def _splits(
    source: Callable[..., Records], counts: tuple[tuple[str, int], ...], **given: Any
) -> tuple[Callable[[], Records], ...]:
    """Return a source of so many scenes for each split of the photographs."""
    return tuple(
        functools.partial(source, split=split, count=count, **given) for split, count in counts
    )


def decoder_of(data: MapData, trained: Trained) -> Callable[..., dict[str, np.ndarray]]:
    """Return the decoder of an example: the picture as the run's evaluations decode it.

    It raises BadImage for a map of another aspect ratio than its picture, DataError for an index
    that is no class.
    """
    decoders = decoders_of(trained.images.decode)
    picture = decoders.get(trained.spec.stream) or decoders.get("")
    if picture is None or len(trained.spec.size) != 2:
        raise Unsuitable(
            f"it shows pictures to the encoder, and this run sees {', '.join(trained.spec.arrays)} "
            "of another kind: use it with a run on images"
        )
    streams = {data.picture: picture, data.target: data.decode}
    key = f"evals.measures.{trained.measure}.data"
    names = data.picture, data.target
    return functools.partial(_decoded, names=names, streams=streams, key=key)


def _decoded(
    rng: np.random.Generator,
    encoded: Any,
    channels: Mapping[str, int],
    *,
    names: tuple[str, str],
    streams: Mapping[str, Callable[..., np.ndarray]],
    key: str,
) -> dict[str, np.ndarray]:
    """Decode a picture and its map, whose names are given in this order; key: of the data."""
    try:
        arrays = each(rng, encoded, channels, streams=streams)
    except UnknownClass as error:
        problem = DataError(
            f"has the index {error.index}, but its classes are 0 ... {error.classes - 1}: set "
            f"{key}.void={error.index} if it stands for no class, or "
            f"{key}.classes={error.index + 1}"
        )
        problem.stream = error.stream
        raise problem from error
    picture, target = (arrays[name].shape[:2] for name in names)
    if problem := aspect_problem(picture, target, names[0]):
        raise BadImage(problem, stream=names[1])
    return arrays


def crops_of(
    data: MapData,
    records: Records,
    trained: Trained,
    scale: FractionRange,
    unread: dict[str, str],
) -> Callable[[int, int], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Return (batch size, seed) -> endless random crops of pictures and maps, at the input's size.

    scale: limits of a crop's share of the area. Crops are mirrored half of the time; maps of
    classes are resized to the nearest pixel. Every process gets whole batches.
    unread: {name: why} of examples that cannot be read, to add to; the next ones stand for them.
    Raises Unsuitable for a run on something else than pictures.
    """
    nearest = (data.target,) if data.classes else ()
    augment = functools.partial(joint_crop, scale=scale, nearest=nearest)
    decode = decoder_of(data, trained)

    def crops(batch_size: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        batches = train_batches(
            records,
            spec=crop_spec(data, trained.spec),
            batch_size=batch_size,
            seed=seed,
            augment=augment,
            decode=decode,
        )
        read = watched(batches, records, unread)
        return ((batch[data.picture], batch[data.target]) for batch in read)

    return crops


def crop_spec(data: MapData, spec: Spec) -> Spec:
    """Return what a crop is: a picture of the input's size, and a map of as many pixels."""
    field = Field(tuple(spec.size), "int32" if data.classes else "float32")
    only = {"streams": {}, "labels": {}, "fields": {data.target: field}}
    return spec._replace(stream=data.picture, **only)


def pairs_of(
    data: MapData, records: Records, trained: Trained, most: int, unread: dict[str, str]
) -> Iterator[Pair]:
    """Yield at most `most` examples, spread evenly, at the resolutions that they are stored in.

    unread: {name: why} of examples that cannot be read, to add to; they are left out.
    """
    decode, channels = decoder_of(data, trained), {data.picture: trained.spec.channels}
    for index in map(int, spread(len(records), most)):
        try:
            with naming(records, index, trained.spec, decode) as files:
                example = records[index]
                files.update(example.files)
                encoded: Any = example.encoded
                arrays = decode(np.random.default_rng(index), encoded, channels=channels)
        except BadImage as error:
            unread[records.name(index)] = error.reason
            continue
        yield Pair(arrays[data.picture], arrays[data.target][..., 0])
