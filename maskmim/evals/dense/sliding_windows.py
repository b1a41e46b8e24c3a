"""Predictions of whole pictures by a function of windows of one size, at their own resolution."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from maskmim.data.resize import resize
from maskmim.evals.dense.problem import Predict


class Canvas:
    """The sum of predictions of the windows of a picture, and how many windows are missing."""

    def __init__(self, shape: tuple[int, int], windows: int):
        self.missing = windows
        self._total: np.ndarray | None = None
        self._times = np.zeros((*shape, 1), np.float32)

    def add(self, corner: tuple[int, int], prediction: np.ndarray) -> None:
        """Add the prediction f32[h, w, K] of the window at a corner (row, column)."""
        if self._total is None:
            shape = *self._times.shape[:2], prediction.shape[-1]
            self._total = np.zeros(shape, np.float32)
        rows = slice(corner[0], corner[0] + prediction.shape[0])
        columns = slice(corner[1], corner[1] + prediction.shape[1])
        self._total[rows, columns] += prediction
        self._times[rows, columns] += 1
        self.missing -= 1

    @property
    def mean(self) -> np.ndarray:
        """The mean prediction of every pixel, f32[H, W, K]."""
        return self._total / self._times


def predict_whole(
    predict: Predict,
    pictures: Iterable[np.ndarray],
    *,
    size: tuple[int, int],
    stride: float,
    batch: int,
) -> Iterator[np.ndarray]:
    """Yield the prediction f32[H, W, K] of each picture [H, W, C]: means over windows.

    predict:  of `batch` windows of `size` at a time, from any pictures; the last batch is padded.
    pictures: at least as large as a window, see `fitted`. stride: between windows, as a share of
              their size; the last window ends at the rim.
    """
    waiting: deque[Canvas] = deque()
    cut: list[tuple[Canvas, tuple[int, int], np.ndarray]] = []

    def run() -> None:
        windows = np.stack([window for *_, window in cut[:batch]])
        lacking = [(0, batch - len(windows))] + [(0, 0)] * 3
        outputs = predict(np.pad(windows, lacking))
        for (canvas, corner, _), output in zip(cut, outputs, strict=False):
            canvas.add(corner, output)
        del cut[:batch]

    def finished() -> Iterator[np.ndarray]:
        while waiting and not waiting[0].missing:
            yield waiting.popleft().mean

    for picture in pictures:
        corners = window_corners(picture.shape[:2], size, stride)
        canvas = Canvas(picture.shape[:2], len(corners))
        waiting.append(canvas)
        cut += [(canvas, at, _window(picture, at, size)) for at in corners]
        while len(cut) >= batch:
            run()
        yield from finished()
    if cut:
        run()
    yield from finished()


def _window(picture: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    return picture[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]


def window_corners(
    shape: tuple[int, int], size: tuple[int, int], stride: float
) -> list[tuple[int, int]]:
    """Return (row, column) of the windows that cover a picture, row by row.

    stride: as a share of the window's size, at most 1; the last ones are moved back to the rim.
    """
    rows, columns = (
        _starts(length, window, stride) for length, window in zip(shape, size, strict=True)
    )
    return [(row, column) for row in rows for column in columns]


def _starts(length: int, window: int, stride: float) -> list[int]:
    step = max(1, int(stride * window))
    count = math.ceil((length - window) / step) + 1
    return [min(number * step, length - window) for number in range(count)]


def fitted(picture: np.ndarray, size: tuple[int, int], short_side: int | None) -> np.ndarray:
    """Return a picture whose shorter side is `short_side`, enlarged where a window does not fit.

    short_side: None for the picture's own.
    """
    rows, columns = picture.shape[:2]
    factor = 1.0 if short_side is None else short_side / min(rows, columns)
    factor = max(factor, size[0] / rows, size[1] / columns)
    wanted = max(size[0], round(factor * rows)), max(size[1], round(factor * columns))
    return picture if wanted == (rows, columns) else resize(picture, wanted)


def resized_to(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize f32[H, W, K] to f32[*size, K], bilinear between centres of pixels.

    As torch's interpolate(mode='bilinear', align_corners=False); in numpy, as pictures of a data
    set have many sizes, each of which would be compiled.
    """
    for axis, length in enumerate(size):
        old = values.shape[axis]
        if old == length:
            continue
        places = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
        low = np.floor(places).astype(np.int64)
        share = (places - low).astype(np.float32)
        share = share.reshape(-1, *(1,) * (values.ndim - 1 - axis))
        high = np.minimum(low + 1, old - 1)
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values
