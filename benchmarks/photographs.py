"""Synthetic photographs with the pixel and file sizes of ImageNet's, from the package's own."""

from __future__ import annotations

import numpy as np
import simplejpeg

from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.data.resize import resize

TILE = 192
GRAIN = 4.0


def photographs(
    count: int, *, height: int = 375, width: int = 500, quality: int = 96
) -> list[bytes]:
    """Make JPEG files, mosaics of the package's photographs enlarged twice to 192 px, with grain.

    The package's photographs have 96 px, and enlarged they are smoother than real ones. Normal
    noise of 4 levels, equal in all channels, and quality 96 (chroma halved) bring a file of 500 x
    375 to about 106 kB; ImageNet's mean is 110 kB. The time to decode depends on bytes and pixels.
    """
    rng = np.random.default_rng(0)
    source = grocery(split="train")
    files = []
    for _ in range(count):
        rows, columns = -(-height // TILE), -(-width // TILE)
        picks = rng.integers(0, len(source), (rows, columns))
        tiles = [[resize(decode(source[int(i)].encoded), (TILE, TILE)) for i in r] for r in picks]
        mosaic = np.concatenate([np.concatenate(row, axis=1) for row in tiles])[:height, :width]
        noisy = mosaic + rng.normal(0, GRAIN, (height, width, 1))
        pixels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        files.append(simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420"))
    return files
