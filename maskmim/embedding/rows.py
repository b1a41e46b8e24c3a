"""The rows of a source, in its order: read, decoded and cropped as the run's evaluations do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from maskmim.data.batch_arrays import (
    channels_of,
    check_array,
    made,
    output_shapes,
    size_of,
    with_fields,
)
from maskmim.data.folder import LABEL_SET, FolderRecords
from maskmim.data.records import BadImage, DataError, Example
from maskmim.data.shard_writer import map_in_order
from maskmim.embedding.errors import EmbedError
from maskmim.embedding.source import Source
from maskmim.embedding.windows import PIXEL_FORMATS, Cut, Window, of_sound, of_video
from maskmim.inference.loaded import Loaded
from maskmim.training.build import bind_evals

MOST_THREADS = 16
# Windows whose frames, of the size of the video, wait to be cropped.
WINDOWS_AHEAD = 4
# Frames of a spectrogram, see `data.log_mel`.
FRAMES_PER_SECOND = 100
Item = TypeVar("Item")


class Place(NamedTuple):
    """Where a source is continued: a file, and the number of a window of it."""

    file: int
    window: int = 0


class Row(NamedTuple):
    """A row to be, or a file that cannot be read.

    start, end: seconds of a window; 0 without windows. arrays: as the method takes them of one
    example. bad: why the file cannot be read, '' where it can.
    """

    place: Place
    start: float
    end: float
    arrays: Mapping[str, np.ndarray]
    labels: Mapping[str, int]
    bad: str = ""


class Batch(NamedTuple):
    """At most a batch of rows, the bad files that come before its end, and where the next begins.

    bad: (index of the file, why it cannot be read).
    """

    rows: list[Row]
    bad: list[tuple[int, str]]
    following: Place


class Reader:
    """Reads the rows of a source. cut: of its files into windows; None for a row a file.

    Raises EmbedError for windows of what has none, or that are longer than the model hears.
    """

    def __init__(self, source: Source, loaded: Loaded, cut: Cut | None):
        evals = bind_evals(loaded.config)
        self._source, self._spec, self._cut = source, loaded.spec, cut
        self._decode, self._transform = evals.decode, evals.transform
        self._shapes = output_shapes(evals.transform, loaded.spec)
        if cut is not None:
            self._check_cut(cut)

    def batches(self, begin: Place, size: int) -> Iterator[Batch]:
        """Yield the rows from a place on in batches of `size`, the last one smaller or empty.

        Bad files take no place in a batch. The batches from the place where one ends on are those
        that follow it.
        """
        rows: list[Row] = []
        bad: list[tuple[int, str]] = []
        for row in self._rows(begin, ahead=size):
            if row.bad:
                bad.append((row.place.file, row.bad))
                continue
            rows.append(row)
            if len(rows) == size:
                yield Batch(rows, bad, self._after(row.place))
                rows, bad = [], []
        yield Batch(rows, bad, Place(len(self._source.records)))

    def _after(self, place: Place) -> Place:
        return Place(place.file + 1) if self._cut is None else Place(place.file, place.window + 1)

    def _rows(self, begin: Place, ahead: int) -> Iterator[Row]:
        """Yield the rows of all files; threads read whole files, and crop windows."""
        count = len(self._source.records)
        with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
            if self._cut is None:
                yield from map_in_order(pool, self._whole, range(begin.file, count), ahead)
                return
            for file in range(begin.file, count):
                first = begin.window if file == begin.file else 0
                yield from self._windows(pool, file, first, self._cut)

    def _whole(self, file: int) -> Row:
        rng = _generator(file)
        try:
            example = self._source.records[file]
            with self._naming(file):
                channels = channels_of(self._spec, example.encoded)
                decoded = self._decode(rng, example.encoded, channels=channels)
                arrays = self._arrays(rng, decoded, example)
            return Row(Place(file), 0.0, 0.0, arrays, example.labels)
        except BadImage as error:
            return Row(Place(file), 0.0, 0.0, {}, {}, error.reason)

    def _windows(self, pool: ThreadPoolExecutor, file: int, first: int, cut: Cut) -> Iterator[Row]:
        reasons: list[str] = []
        try:
            labels, windows = self._opened(file, first, cut)

            def row(window: Window) -> Row:
                arrays = self._arrays(_generator(file), window.content, Example(b"", {}))
                return Row(Place(file, window.number), window.start, window.end, arrays, labels)

            with self._naming(file):
                readable = _until_bad(windows, reasons)
                yield from map_in_order(pool, row, readable, WINDOWS_AHEAD)
        except BadImage as error:
            reasons.append(error.reason)
        if reasons:
            yield Row(Place(file), 0.0, 0.0, {}, {}, reasons[0])

    def _opened(self, file: int, first: int, cut: Cut) -> tuple[Mapping[str, int], Any]:
        """Return the labels of a file, and its windows from number `first` on."""
        records = self._source.records
        if self._source.kind == "sound":
            example = records[file]
            sound = self._decode(_generator(file), example.encoded, channels=self._spec.channels)
            return example.labels, of_sound(sound, cut, first)
        name, labels = records.name(file), {}
        if records.labels:  # reading the record would read the whole video into memory
            labels = {LABEL_SET: records.labels[LABEL_SET].index(name.split("/")[0])}
        path = self._source.root / name
        frames, channels = self._spec.size[0], self._spec.channels
        return labels, of_video(path, cut, first, frames=frames, channels=channels)

    def _arrays(self, rng: np.random.Generator, decoded: Any, example: Example) -> dict:
        outputs = self._transform(
            rng, with_fields(decoded, example, self._spec), size=size_of(self._spec)
        )
        if not isinstance(outputs, Mapping):
            outputs = {self._spec.stream: outputs}
        return {
            name: check_array(made(outputs, name), shape, name, self._spec)
            for name, shape in self._shapes.items()
        }

    def _naming(self, file: int) -> _Naming:
        return _Naming(self._source.records.name(file))

    def _check_cut(self, cut: Cut) -> None:
        kind, spec = self._source.kind, self._spec
        if kind == "image":
            raise EmbedError("--window cuts videos and sounds, this model sees pictures: omit it")
        if self._source.root is None:
            raise EmbedError("--window cuts files: give a folder, as --data folder:PATH")
        if kind == "clip" and not isinstance(self._source.records, FolderRecords):
            raise EmbedError("--window reads videos of one folder: give --data folder:PATH")
        if kind == "clip" and spec.channels not in PIXEL_FORMATS:
            raise EmbedError(f"--window: videos give 1, 3 or 4 channels, not {spec.channels}")
        heard = spec.size[0] / FRAMES_PER_SECOND
        if kind == "sound" and cut.length > heard + 0.02:
            raise EmbedError(
                f"--window {cut.length:g}: this model hears {heard:g} seconds at a time; give at "
                "most that"
            )


class _Naming:
    """Names a file in the DataErrors that are raised inside."""

    def __init__(self, name: str):
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, DataError):
            error.args = (f"{self._name}: {error}",)


def _until_bad(windows: Iterator[Window], reasons: list[str]) -> Any:
    """Yield windows up to the first that cannot be read, whose reason joins `reasons`."""
    try:
        yield from windows
    except BadImage as error:
        reasons.append(error.reason)


def _generator(file: int) -> np.random.Generator:
    """Return the random numbers that evaluations give to a record."""
    return np.random.Generator(np.random.Philox(key=[0, file]))


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, of which a thread makes the next one meanwhile."""
    rest, ended = iter(items), object()
    take: Callable[[], Any] = lambda: next(rest, ended)  # noqa: E731
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(take)
        while (item := waiting.result()) is not ended:
            waiting = pool.submit(take)
            yield item
