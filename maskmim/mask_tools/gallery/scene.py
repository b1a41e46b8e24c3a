"""What the gallery draws on: a real photograph as still, clip or strip, and a spectrogram."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.masks.core import MaskError

SPLIT, PLACE = "val", 3  # A yellow apple held before crates of others: an object and a ground.
LONGEST = 224  # Pixels of a picture's longer side, as far as whole patches go.
STRIP = (16, 768)  # Height and width of a single row's.
# The camera of a clip, as shares of the photograph: side of the window, middle (row, column).
WIDE_VIEW, CLOSE_VIEW = (0.9, 0.47, 0.45), (0.5, 0.5, 0.5)


class Scene(NamedTuple):
    """One example: what is in every token of a grid.

    grid:    (tokens,), (rows, columns) or (time steps, rows, columns).
    frames:  f32[T, H, W, 3] in [0, 1]; one frame for each time step, T = 1 without a time axis.
    flow:    f32[T, h, w, 2] displacement, in tokens (rows, columns), of what is in the middle of a
             token until the next time step; 0 without a time axis.
    upright: turns a picture or a map of it, [H, W, ...], for looking at.
    """

    grid: tuple[int, ...]
    frames: np.ndarray
    flow: np.ndarray
    upright: Callable[[np.ndarray], np.ndarray] = np.asarray

    @property
    def patches(self) -> np.ndarray:
        """The pixels of every token: f32[N, pixels of a patch, 3]."""
        time, rows, columns = plane(self.grid)
        high, wide = self.frames.shape[1] // rows, self.frames.shape[2] // columns
        cut = self.frames.reshape(time, rows, high, columns, wide, 3)
        return cut.transpose(0, 1, 3, 2, 4, 5).reshape(time * rows * columns, high * wide, 3)


def plane(grid: tuple[int, ...]) -> tuple[int, int, int]:
    """A grid as (time steps, rows, columns): a sequence is one row, an image one time step."""
    return (1,) * (3 - len(grid)) + tuple(grid)


def scene_of(grid: tuple[int, ...]) -> Scene:
    """The photograph on a grid; a clip zooms in on it and pans, so that its flow is known.

    Raises MaskError for a grid without tokens or of more than three axes.
    """
    if len(grid) not in (1, 2, 3) or min(grid) < 1:
        raise MaskError(f"grid {grid}: the gallery draws on 1 to 3 axes of at least one token")
    time, rows, columns = plane(grid)
    if time == rows == 1:
        size = (STRIP[0], columns * max(2, STRIP[1] // columns))
    else:
        patch = max(2, LONGEST // max(rows, columns))
        size = (rows * patch, columns * patch)
    photograph = Image.fromarray(decode(grocery(split=SPLIT)[PLACE].encoded))
    windows = _windows(time + 1, size[0] / size[1]) if len(grid) == 3 else [_whole(size)]
    frames = [_cut(photograph, window, size) for window in windows[:time]]
    flow = np.zeros((time, rows, columns, 2), np.float32)
    if len(grid) == 3:
        pairs = itertools.pairwise(windows)
        flow = np.stack([_displacement(*pair, (rows, columns)) for pair in pairs])
    return Scene(tuple(grid), np.stack(frames), flow)


def spectrogram_of(grid: tuple[int, ...]) -> Scene:
    """A spectrogram on a grid of (time, mel): a made-up voice, three syllables of gliding tones.

    For looking at, time runs to the right and pitch upwards. Raises MaskError for other grids.
    """
    if len(grid) != 2 or min(grid) < 1:
        raise MaskError(f"grid {grid}: a spectrogram has two axes, (time, mel)")
    patch = max(2, LONGEST // max(grid))
    time, pitch = np.meshgrid(
        *((np.arange(n * patch) + 0.5) / (n * patch) for n in grid), indexing="ij"
    )
    tone = 0.1 + 0.03 * np.sin(9 * time)
    loud = np.abs(np.sin(3 * np.pi * time)) ** 0.5
    order = np.arange(1, 10)
    away = (pitch[..., None] - order * tone[..., None]) / 0.02
    voice = loud * (0.85**order * np.exp(-(away**2))).sum(-1)
    hiss = np.random.default_rng(0).random(voice.shape) * 0.25 * (1 - pitch)
    level = np.clip(voice + hiss, 0, 1)[..., None]
    shades = np.array([[0.05, 0.03, 0.2], [0.5, 0.1, 0.5], [0.95, 0.4, 0.35], [1, 0.95, 0.75]])
    picture = np.concatenate([np.interp(level, np.linspace(0, 1, 4), s) for s in shades.T], -1)
    still = np.zeros((1, *grid, 2), np.float32)
    return Scene(tuple(grid), picture.astype(np.float32)[None], still, _time_rightwards)


def _time_rightwards(picture: np.ndarray) -> np.ndarray:
    return picture.swapaxes(0, 1)[::-1]


class Window(NamedTuple):
    """A part of the photograph, in shares of its sides: the first corner and the size."""

    corner: np.ndarray
    size: np.ndarray


def _whole(size: tuple[int, int]) -> Window:
    """The largest window in the middle that has the shape (height, width)."""
    sides = np.array(size) / max(size)
    return Window((1 - sides) / 2, sides)


def _windows(count: int, shape: float) -> list[Window]:
    """The camera's windows of `count` time steps; shape: height over width."""
    sides = np.array([min(1.0, shape), min(1.0, 1 / shape)])
    windows = []
    for done in np.linspace(0, 1, count):
        scale, *middle = (1 - done) * np.array(WIDE_VIEW) + done * np.array(CLOSE_VIEW)
        windows.append(Window(np.array(middle) - scale * sides / 2, scale * sides))
    return windows


def _cut(photograph: Image.Image, window: Window, size: tuple[int, int]) -> np.ndarray:
    """A window of the photograph as f32[*size, 3]."""
    sides = np.array([photograph.height, photograph.width])
    top, left = window.corner * sides
    high, wide = np.maximum(window.size * sides, 0.5)
    box = (left, top, left + wide, top + high)
    cut = photograph.resize(size[::-1], Image.Resampling.BICUBIC, box=box)
    return np.asarray(cut, np.float32) / 255


def _displacement(now: Window, then: Window, grid: tuple[int, int]) -> np.ndarray:
    """Where the middles of the tokens go from one window to another: f32[h, w, 2] in tokens."""
    places = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n for n in grid), indexing="ij"), -1)
    there = (now.corner + places * now.size - then.corner) / then.size
    return ((there - places) * np.array(grid)).astype(np.float32)
