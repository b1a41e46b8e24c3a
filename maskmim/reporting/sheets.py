"""Contact sheets u8[H, W, 3] of masks, reconstructions and clips, with titles and labels."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from maskmim.reporting.streams import sample_frames

LIMITS = (128, 320)
FRAME_LIMITS = (96, 128)
CLIPS = 4
MARGIN, GAP, GROUP_GAP = 16, 4, 20
TITLE_SIZE, LABEL_SIZE = 15, 12


def scale_to_limits(images: np.ndarray, limits: tuple[int, int] = LIMITS) -> np.ndarray:
    """Return images u8[B, H, W, 3] at a size fit for viewing.

    Magnifies small images by a whole number, so that pixels stay squares, until the short side has
    at least limits[0] pixels; reduces them by averaging pixels where the long side then exceeds
    limits[1].
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


def draw_mask_sheet(
    streams: Mapping[str, tuple[np.ndarray, np.ndarray]],
    hidden: Mapping[str, np.ndarray],
    *,
    title: str,
) -> np.ndarray:
    """Draw each example beside what its mask leaves visible, stream by stream.

    streams: {stream: (the pictures, the same with hidden patches grey)}, see `draw_sheet`.
    hidden:  {stream: bool[B, N of the stream]}.
    title:   the sampler and its arguments; the numbers of hidden patches are appended.
    Returns u8[height, width, 3].
    """
    columns = {}
    for name, (shown, masked) in streams.items():
        columns[name] = shown
        columns[label_of(name, "what the encoder may see", streams)] = masked
    counts = [label_of(name, describe_hidden(hidden[name]), streams) for name in streams]
    groups = 2 if len(streams) == 1 else 1
    return draw_sheet(columns, title="\n".join([title, *counts]), groups=groups)


def label_of(stream: str, text: str, streams: Collection[str]) -> str:
    """Return a text about one of some streams, with its name where there are several."""
    return text if len(streams) == 1 else f"{stream}: {text}"


def describe_hidden(hidden: np.ndarray) -> str:
    """Return a sentence on how much of each image a mask bool[B, N] hides."""
    counts, length = hidden.sum(axis=1), hidden.shape[1]
    low, high = int(counts.min()), int(counts.max())
    number = str(low) if low == high else f"{low} to {high}"
    return f"{counts.mean() / length:.1%} hidden: {number} of {length} patches of each image"


def reconstruction_columns(
    arrays: np.ndarray, masked: np.ndarray, raw_paste: np.ndarray, restored: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the columns of a sheet of reconstructions, by their titles.

    arrays, masked: u8[B, *size, 3].
    raw_paste: predictions as the network outputs them, beside the visible patches.
    restored:  the same, with the mean and contrast of each true patch restored in predictions of
               normalised patches. Where it equals raw_paste (the target is not normalised), one
               column shows both.
    """
    columns = {"example": arrays, "masked": masked}
    if np.array_equal(raw_paste, restored):
        return {**columns, "reconstruction": restored}
    columns["reconstruction: true mean and contrast restored"] = restored
    return {**columns, "raw paste: predictions as output": raw_paste}


def draw_sheet(columns: Mapping[str, np.ndarray], *, title: str, groups: int = 1) -> np.ndarray:
    """Draw one example per row and its versions in columns; of clips, strips of frames.

    columns: {title: u8[B, H, W, 3], of clips u8[B, T, H, W, 3]}, all with B examples; sizes and
             numbers of frames may differ between columns.
    groups:  examples side by side, for pictures. Only the first CLIPS clips are drawn.
    Returns u8[height, width, 3].
    """
    if any(array.ndim == 5 for array in columns.values()):
        return draw_strips(
            {name: _as_clips(array[:CLIPS]) for name, array in columns.items()}, title
        )
    pictures = [scale_to_limits(np.asarray(array)) for array in columns.values()]
    return _draw_grid(pictures, list(columns), title, groups=groups)


def _as_clips(array: np.ndarray) -> np.ndarray:
    """Return frames of clips that can be shown; a picture is a clip of one frame."""
    return sample_frames(array) if array.ndim == 5 else array[:, None]


def draw_strips(versions: Mapping[str, np.ndarray], title: str) -> np.ndarray:
    """Draw clips as strips of frames, the versions of a clip below each other.

    versions: {label: u8[B, T, H, W, 3]}. Returns u8[height, width, 3].
    """
    strips = {
        name: [scale_to_limits(clip, limits=FRAME_LIMITS) for clip in clips]
        for name, clips in versions.items()
    }
    shapes = {name: clips[0].shape[:3] for name, clips in strips.items()}
    examples = len(next(iter(strips.values())))
    longest = max(frames * (width + GAP) - GAP for frames, _, width in shapes.values())
    across = 2 * MARGIN + longest
    heading = _wrap_text(title, TITLE_SIZE, across - 2 * MARGIN)
    top = MARGIN + _line_height(TITLE_SIZE) * len(heading) + GAP
    tall = sum(_line_height(LABEL_SIZE) + height + GAP for _, height, _ in shapes.values())
    down = top + examples * (tall + GROUP_GAP) - GROUP_GAP + MARGIN
    canvas = Image.new("RGB", (across, down), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), "\n".join(heading), "black", _font(TITLE_SIZE), spacing=4)
    for example in range(examples):
        for label, clips in strips.items():
            _, height, width = shapes[label]
            draw.text((MARGIN, top), label, "#444444", _font(LABEL_SIZE))
            for index, frame in enumerate(clips[example]):
                corner = (MARGIN + index * (width + GAP), top + _line_height(LABEL_SIZE))
                canvas.paste(Image.fromarray(frame), corner)
            top += _line_height(LABEL_SIZE) + height + GAP
        top += GROUP_GAP
    return np.asarray(canvas)


def _draw_grid(
    columns: Sequence[np.ndarray], labels: Sequence[str], title: str, *, groups: int
) -> np.ndarray:
    """Draw examples in rows, their versions in labelled columns, `groups` examples side by side."""
    examples = len(columns[0])
    height, widths = max(each.shape[1] for each in columns), [each.shape[2] for each in columns]
    groups = min(groups, examples)
    group_width = sum(widths) + GAP * (len(widths) - 1)
    across = groups * (group_width + GROUP_GAP) - GROUP_GAP + 2 * MARGIN
    heading = _wrap_text(title, TITLE_SIZE, across - 2 * MARGIN)
    captions = [
        _wrap_text(label, LABEL_SIZE, width) for label, width in zip(labels, widths, strict=True)
    ]
    label_top = MARGIN + _line_height(TITLE_SIZE) * len(heading) + GAP
    top = label_top + _line_height(LABEL_SIZE) * max(map(len, captions)) + GAP
    down = top + -(-examples // groups) * (height + GAP) - GAP + MARGIN
    canvas = Image.new("RGB", (across, down), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), "\n".join(heading), "black", _font(TITLE_SIZE), spacing=4)
    for group in range(groups):
        x = MARGIN + group * (group_width + GROUP_GAP)
        for index, column in enumerate(columns):
            text = "\n".join(captions[index])
            draw.text((x, label_top), text, "#444444", _font(LABEL_SIZE), spacing=4)
            for row, picture in enumerate(column[group::groups]):
                canvas.paste(Image.fromarray(picture), (x, top + row * (height + GAP)))
            x += widths[index] + GAP
    return np.asarray(canvas)


def with_key(sheet: np.ndarray, colours: Mapping[str, tuple[int, int, int]]) -> np.ndarray:
    """Return a sheet u8[H, W, 3] with a line below it of what each colour stands for.

    colours: {text: RGB}; what does not fit into a line goes to the next.
    """
    font, line = _font(LABEL_SIZE), _line_height(LABEL_SIZE)
    places, x, y = [], MARGIN, 0
    for text in colours:
        wide = line + GAP + int(font.getlength(text)) + GROUP_GAP
        if x > MARGIN and x + wide > sheet.shape[1]:
            x, y = MARGIN, y + line
        places.append((x, y))
        x += wide
    canvas = Image.new("RGB", (sheet.shape[1], y + line + MARGIN), "white")
    draw = ImageDraw.Draw(canvas)
    for (text, colour), (x, y) in zip(colours.items(), places, strict=True):
        draw.rectangle((x, y, x + line - 2 * GAP, y + line - 2 * GAP), fill=tuple(colour))
        draw.text((x + line, y - 1), text, "#444444", font)
    return np.concatenate([sheet, np.asarray(canvas)])


def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib ships this font; it covers most languages, which file names may need.
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def _line_height(size: int) -> int:
    return sum(_font(size).getmetrics()) + 4


def _wrap_text(text: str, size: int, width: int) -> list[str]:
    """Return lines of text about `width` pixels wide at most, by the mean width of letters."""
    letters = max(8, int(width / _font(size).getlength("abcdefghijklmnopqrstuvwxyz") * 26))
    return [line for part in text.split("\n") for line in textwrap.wrap(part, letters) or [""]]
