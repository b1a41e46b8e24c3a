"""Draw docs/images/hog.webp: photographs and the HOG that MaskFeat predicts for them.

python -m docs.make_hog_figure
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.data.transforms import resize_center_crop
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.targets.hog import hog
from maskmim.targets.hog_glyphs import glyphs

IMAGES = Path(__file__).parent / "images"
CHOSEN = (0, 90, 200)  # indices of the photographs in the split
PIXELS, MAGNIFIED, GAP, QUALITY = 96, 3, 6, 85


def main() -> None:
    """Draw each photograph above its histograms, averaged over the channels."""
    records = grocery(split="val")
    size = (PIXELS, PIXELS)
    cropped = [resize_center_crop(None, decode(records[index].encoded), size) for index in CHOSEN]
    images = (np.stack(cropped) / 255.0 - IMAGENET_MEAN) / IMAGENET_STD
    cells = np.asarray(hog(images.astype(np.float32))).mean(axis=-2)
    columns = []
    for photograph, histograms in zip(cropped, cells, strict=True):
        large = photograph.repeat(MAGNIFIED, axis=0).repeat(MAGNIFIED, axis=1)
        drawn = glyphs(histograms, size=8 * MAGNIFIED)[..., None].repeat(3, axis=-1)
        gap = np.full((GAP, large.shape[1], 3), 255, np.uint8)
        columns += [np.concatenate([large, gap, drawn])]
        columns += [np.full((len(columns[0]), GAP, 3), 255, np.uint8)]
    sheet = Image.fromarray(np.concatenate(columns[:-1], axis=1))
    sheet.save(IMAGES / "hog.webp", quality=QUALITY)


if __name__ == "__main__":
    main()
