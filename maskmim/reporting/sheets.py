"""Pictures of masks, reconstructions and losses, as arrays u8[H, W, 3], and saving them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from maskmim.reporting.streams import cover, look, some_frames, upright

LIMITS = (128, 320)
FRAME_LIMITS = (96, 128)
CLIPS = 4
MARGIN, GAP, GROUP_GAP = 16, 4, 20
TITLE_SIZE, LABEL_SIZE = 15, 12


def resize(images: np.ndarray, limits: tuple[int, int] = LIMITS) -> np.ndarray:
    """u8[B, H, W, 3] at a size that can be looked at.

    Small ones are magnified by a whole number, so that pixels stay squares, until the short side
    has limits[0] pixels; where the long side has more than limits[1], averages of pixels bring it
    down to that.
    """
    smallest, largest = limits
    height, width = images.shape[1:3]
    factor = max(1, -(-smallest // min(height, width)))
    if factor > 1:
        images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    scale = largest / max(images.shape[1:3])
    if scale >= 1:
        return images
    size = (max(1, round(images.shape[2] * scale)), max(1, round(images.shape[1] * scale)))
    box = Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(image).resize(size, box)) for image in images])


def mask_sheet(
    arrays: np.ndarray,
    hidden: np.ndarray,
    grid: tuple[int, ...],
    *,
    title: str,
    stream: str = "image",
) -> np.ndarray:
    """A sampler's masks on examples: pairs of an example and what stays visible of it.

    arrays: u8[B, *size, C] as people see them. hidden: bool[B, N]. grid: tokens along each axis,
            which divide the size.
    title:  the sampler and what it was given; the numbers of hidden patches are added.
    Returns u8[height, width, 3]. Raises ValueError where mask and arrays do not fit.
    """
    shown, hidden = look(stream, np.asarray(arrays)), np.asarray(hidden, bool)
    columns = {stream: shown, "what the encoder may see": cover(shown, hidden, grid)}
    return sheet(columns, title=f"{title}\n{count_text(hidden)}", stream=stream, groups=2)


def count_text(hidden: np.ndarray) -> str:
    """How much of each image a mask bool[B, N] hides, in words."""
    counts, length = hidden.sum(axis=1), hidden.shape[1]
    low, high = int(counts.min()), int(counts.max())
    number = str(low) if low == high else f"{low} to {high}"
    return f"{counts.mean() / length:.1%} hidden: {number} of {length} patches of each image"


def reconstruction_columns(
    arrays: np.ndarray, masked: np.ndarray, raw_paste: np.ndarray, restored: np.ndarray
) -> dict[str, np.ndarray]:
    """The columns of a sheet of reconstructions, by their titles.

    arrays, masked: u8[B, *size, 3].
    raw_paste: predictions shown as they come, visible patches as they are.
    restored:  the same with the mean and contrast of each true patch put back into predictions of
               normalised patches. Where it equals raw_paste (the target is no normalised patch),
               one column shows both.
    """
    columns = {"example": arrays, "masked": masked}
    if np.array_equal(raw_paste, restored):
        return {**columns, "reconstruction": restored}
    columns["reconstruction: true mean and contrast put back"] = restored
    return {**columns, "raw paste: predictions as they come": raw_paste}


def sheet(
    columns: Mapping[str, np.ndarray], *, title: str, stream: str = "image", groups: int = 1
) -> np.ndarray:
    """Versions of examples side by side, one example a row; the frames of clips below each other.

    columns: {title: u8[B, H, W, 3], of clips u8[B, T, H, W, 3]}, all with as many examples.
    groups:  examples side by side, for pictures. Of clips the first CLIPS are shown.
    Returns u8[height, width, 3].
    """
    if any(array.ndim == 5 for array in columns.values()):
        some = {name: some_frames(array[:CLIPS]) for name, array in columns.items()}
        return strip_sheet(some, title)
    shown = [resize(upright(stream, np.asarray(array))) for array in columns.values()]
    return _sheet(shown, list(columns), title, groups=groups)


def strip_sheet(versions: Mapping[str, np.ndarray], title: str) -> np.ndarray:
    """Clips as strips of frames, the versions of a clip below each other.

    versions: {label: u8[B, T, H, W, 3]}.
    """
    lines = {
        name: [resize(clip, limits=FRAME_LIMITS) for clip in clips]
        for name, clips in versions.items()
    }
    first = next(iter(lines.values()))
    frames, height, width = first[0].shape[:3]
    across = 2 * MARGIN + frames * (width + GAP) - GAP
    heading = _wrapped(title, TITLE_SIZE, across - 2 * MARGIN)
    top = MARGIN + _line(TITLE_SIZE) * len(heading) + GAP
    strip = _line(LABEL_SIZE) + height + GAP
    down = top + len(first) * (len(lines) * strip + GROUP_GAP) - GROUP_GAP + MARGIN
    canvas = Image.new("RGB", (across, down), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), "\n".join(heading), "black", _font(TITLE_SIZE), spacing=4)
    for example in range(len(first)):
        for label, clips in lines.items():
            draw.text((MARGIN, top), label, "#444444", _font(LABEL_SIZE))
            for place, frame in enumerate(clips[example]):
                at = (MARGIN + place * (width + GAP), top + _line(LABEL_SIZE))
                canvas.paste(Image.fromarray(frame), at)
            top += strip
        top += GROUP_GAP
    return np.asarray(canvas)


def _sheet(
    columns: Sequence[np.ndarray], labels: Sequence[str], title: str, *, groups: int
) -> np.ndarray:
    """Examples in rows, their versions in labelled columns, `groups` examples side by side."""
    examples, height, width = columns[0].shape[:3]
    groups = min(groups, examples)
    group_width = len(columns) * (width + GAP) - GAP
    across = groups * (group_width + GROUP_GAP) - GROUP_GAP + 2 * MARGIN
    heading = _wrapped(title, TITLE_SIZE, across - 2 * MARGIN)
    named = [_wrapped(label, LABEL_SIZE, width) for label in labels]
    label_top = MARGIN + _line(TITLE_SIZE) * len(heading) + GAP
    top = label_top + _line(LABEL_SIZE) * max(map(len, named)) + GAP
    down = top + -(-examples // groups) * (height + GAP) - GAP + MARGIN
    canvas = Image.new("RGB", (across, down), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), "\n".join(heading), "black", _font(TITLE_SIZE), spacing=4)
    for group in range(groups):
        left = MARGIN + group * (group_width + GROUP_GAP)
        for place, column in enumerate(columns):
            x = left + place * (width + GAP)
            text = "\n".join(named[place])
            draw.text((x, label_top), text, "#444444", _font(LABEL_SIZE), spacing=4)
            for row, picture in enumerate(column[group::groups]):
                canvas.paste(Image.fromarray(picture), (x, top + row * (height + GAP)))
    return np.asarray(canvas)


def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib brings it, and it has the letters of most languages, which file names may need.
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def _line(size: int) -> int:
    return sum(_font(size).getmetrics()) + 4


def _wrapped(text: str, size: int, width: int) -> list[str]:
    """Lines of text that are at most `width` pixels wide, as far as average letters go."""
    letters = max(8, int(width / _font(size).getlength("abcdefghijklmnopqrstuvwxyz") * 26))
    return [part for line in text.split("\n") for part in textwrap.wrap(line, letters) or [""]]
