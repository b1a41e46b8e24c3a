"""Scenes that the gallery draws on: a photograph as still, clip or strip, and a spectrogram."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.masks.core import MaskError

SPLIT, INDEX = "val", 3  # A yellow apple held before crates of others: an object and a ground.
LONGEST = 224  # Pixels of a picture's longer side at most, a multiple of the patch.
STRIP = (16, 768)  # Height and width in pixels of a single row of tokens.
# The camera of a clip, as shares of the photograph: side of the window, middle (row, column).
WIDE_VIEW, CLOSE_VIEW = (0.9, 0.47, 0.45), (0.5, 0.5, 0.5)


class Scene(NamedTuple):
    """One example, cut into the tokens of a grid.

    grid:    (tokens,), (rows, columns) or (time steps, rows, columns).
    frames:  f32[T, H, W, 3] in [0, 1]; one frame for each time step, T = 1 without a time axis.
    flow:    f32[T, h, w, 2] displacement, in tokens (rows, columns), of the middle of each token
             until the next time step; 0 without a time axis.
    upright: turns a picture or a map of it, [H, W, ...], the way people look at it.
    """

    grid: tuple[int, ...]
    frames: np.ndarray
    flow: np.ndarray
    upright: Callable[[np.ndarray], np.ndarray] = np.asarray

    @property
    def patches(self) -> np.ndarray:
        """Return the pixels of every token: f32[N, pixels of a patch, 3]."""
        time, rows, columns = with_three_axes(self.grid)
        height, width = self.frames.shape[1] // rows, self.frames.shape[2] // columns
        split = self.frames.reshape(time, rows, height, columns, width, 3)
        return split.transpose(0, 1, 3, 2, 4, 5).reshape(time * rows * columns, height * width, 3)


def with_three_axes(grid: tuple[int, ...]) -> tuple[int, int, int]:
    """Return a grid as (time steps, rows, columns).

    A sequence is one row, an image one time step.
    """
    return (1,) * (3 - len(grid)) + tuple(grid)


def photograph_scene(grid: tuple[int, ...]) -> Scene:
    """Return the photograph on a grid; a clip zooms in on it and pans, so that its flow is known.

    Raises MaskError for a grid without tokens or of more than three axes.
    """
    if len(grid) not in (1, 2, 3) or min(grid) < 1:
        raise MaskError(f"grid {grid}: the gallery draws on 1 to 3 axes of at least one token")
    time, rows, columns = with_three_axes(grid)
    if time == rows == 1:
        size = (STRIP[0], columns * max(2, STRIP[1] // columns))
    else:
        patch = max(2, LONGEST // max(rows, columns))
        size = (rows * patch, columns * patch)
    photograph = Image.fromarray(decode(grocery(split=SPLIT)[INDEX].encoded))
    windows = (
        _camera_windows(time + 1, size[0] / size[1]) if len(grid) == 3 else [_centre_window(size)]
    )
    frames = [_crop(photograph, window, size) for window in windows[:time]]
    flow = np.zeros((time, rows, columns, 2), np.float32)
    if len(grid) == 3:
        pairs = itertools.pairwise(windows)
        flow = np.stack([_displacement(*pair, (rows, columns)) for pair in pairs])
    return Scene(tuple(grid), np.stack(frames), flow)


def spectrogram_scene(grid: tuple[int, ...]) -> Scene:
    """Return a spectrogram on a grid of (time, mel): a synthetic voice, three gliding syllables.

    Upright, time runs to the right and pitch upwards. Raises MaskError for other grids.
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
    offset = (pitch[..., None] - order * tone[..., None]) / 0.02
    voice = loud * (0.85**order * np.exp(-(offset**2))).sum(-1)
    hiss = np.random.default_rng(0).random(voice.shape) * 0.25 * (1 - pitch)
    level = np.clip(voice + hiss, 0, 1)[..., None]
    shades = np.array([[0.05, 0.03, 0.2], [0.5, 0.1, 0.5], [0.95, 0.4, 0.35], [1, 0.95, 0.75]])
    picture = np.concatenate([np.interp(level, np.linspace(0, 1, 4), s) for s in shades.T], -1)
    still = np.zeros((1, *grid, 2), np.float32)
    return Scene(tuple(grid), picture.astype(np.float32)[None], still, _time_rightwards)


def _time_rightwards(picture: np.ndarray) -> np.ndarray:
    return picture.swapaxes(0, 1)[::-1]


class Window(NamedTuple):
    """A part of the photograph, in shares of its sides: the upper left corner and the size."""

    corner: np.ndarray
    size: np.ndarray


def _centre_window(size: tuple[int, int]) -> Window:
    """Return the largest window in the middle that has the shape (height, width)."""
    sides = np.array(size) / max(size)
    return Window((1 - sides) / 2, sides)


def _camera_windows(count: int, aspect: float) -> list[Window]:
    """Return the camera's windows of `count` time steps; aspect: height over width."""
    sides = np.array([min(1.0, aspect), min(1.0, 1 / aspect)])
    windows = []
    for share in np.linspace(0, 1, count):
        scale, *middle = (1 - share) * np.array(WIDE_VIEW) + share * np.array(CLOSE_VIEW)
        windows.append(Window(np.array(middle) - scale * sides / 2, scale * sides))
    return windows


def _crop(photograph: Image.Image, window: Window, size: tuple[int, int]) -> np.ndarray:
    """Crop a window of the photograph and resize it: f32[*size, 3]."""
    sides = np.array([photograph.height, photograph.width])
    top, left = window.corner * sides
    height, width = np.maximum(window.size * sides, 0.5)
    box = (left, top, left + width, top + height)
    crop = photograph.resize(size[::-1], Image.Resampling.BICUBIC, box=box)
    return np.asarray(crop, np.float32) / 255


def _displacement(now: Window, then: Window, grid: tuple[int, int]) -> np.ndarray:
    """Return the displacement of the tokens' middles between windows: f32[h, w, 2] in tokens."""
    middles = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n for n in grid), indexing="ij"), -1)
    later = (now.corner + middles * now.size - then.corner) / then.size
    return ((later - middles) * np.array(grid)).astype(np.float32)
