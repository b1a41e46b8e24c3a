"""Draw docs/images/sprites.webp: frames of sprites with their flow, and scenes with captions.

python -m docs.make_sprites_figure
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from maskmim.data.captions import captioned_scenes
from maskmim.data.sprites import sprites

IMAGES = Path(__file__).parent / "images"
SIDE, MAGNIFIED, GAP, LINE, QUALITY = 64, 3, 6, 30, 85
FRAMES, SHOWN = 16, (0, 5, 10, 15)
CLIPS, SCENES = (1, 5), (0, 3, 4, 8)


def main() -> None:
    """Draw two clips, an arrow along the flow of the object's middle, above four scenes."""
    clips = sprites(split="test", frames=FRAMES, size=(SIDE, SIDE))
    rows = [[clip_frame(clips[index], frame) for frame in SHOWN] for index in CLIPS]
    scenes = captioned_scenes(split="test", size=(SIDE, SIDE))
    rows.append([scene(scenes, index) for index in SCENES])
    wide = SIDE * MAGNIFIED + GAP
    sheet = Image.new("RGB", (wide * len(SHOWN) - GAP, wide * len(rows) + LINE), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * wide, row * wide))
    sheet.save(IMAGES / "sprites.webp", quality=QUALITY)


def enlarged(picture: np.ndarray) -> Image.Image:
    """Return a picture u8[h, w, 3] with larger pixels."""
    side = SIDE * MAGNIFIED
    return Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST)


def clip_frame(example: object, frame: int) -> Image.Image:
    """Return a frame with the outline of its object, and where its middle goes in four frames."""
    inside = example.fields["object"][frame, ..., 0] == 1
    padded = np.pad(inside, 1)
    around = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    picture = np.where((inside & ~around)[..., None], 255, example.encoded[frame])
    image = enlarged(picture.astype(np.uint8))
    middle = np.argwhere(inside).mean(axis=0)[::-1]
    way = 4 * example.fields["flow"][frame][inside].mean(axis=0)
    ends = [tuple(MAGNIFIED * (place + 0.5)) for place in (middle, middle + way)]
    draw = ImageDraw.Draw(image)
    draw.line(ends, fill="red", width=3)
    draw.circle(ends[1], 4, fill="red")
    return image


def scene(records: object, index: int) -> Image.Image:
    """Return a scene above its caption."""
    words = records.name(index).partition(", ")[2]
    image = Image.new("RGB", (SIDE * MAGNIFIED, SIDE * MAGNIFIED + LINE), "white")
    image.paste(enlarged(records[index].encoded["image"]))
    first, front, rest = words.partition(" in front of ")
    text = f"{first}\n{front.strip()} {rest}"
    ImageDraw.Draw(image).multiline_text(
        (2, SIDE * MAGNIFIED + 2), text, fill="black", font_size=11
    )
    return image


if __name__ == "__main__":
    main()
