"""Crops whose patches have random gaps between them, so that borders tell less of neighbours."""

from __future__ import annotations

import numpy as np

from maskmim.config.ranges import Fraction, FractionRange, NonNegativeInt, PositiveRange, Size2D
from maskmim.data.records import DataError
from maskmim.data.transforms import random_resized_crop_flip


def gapped_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    patch: Size2D = (16, 16),
    gap: NonNegativeInt = 4,
    scale: FractionRange = (0.2, 1.0),
    ratio: PositiveRange = (3 / 4, 4 / 3),
    flip: Fraction = 0.5,
) -> np.ndarray:
    """Crop a picture to cells, and cut a patch out of each cell at a random place.

    patch: (height, width) of a patch, the model's; size must be a multiple of it.
    gap:   pixels by which a cell is higher and wider than a patch; 0 leaves the crop as it is.
    scale, ratio, flip: of the crop, see `transforms.random_resized_crop_flip`.
    Offsets lie between 0 and gap - 1, independently down and across, as officially, where randint
    leaves out the upper end. The patches stand side by side in the result, [h, w, C].
    Raises DataError for a size that is no multiple of the patch.
    Source: Latent MIM (arXiv 2407.15837), patchify of vits.py, yibingwei-1/LatentMIM.
    """
    grid = tuple(side // part for side, part in zip(size, patch, strict=True))
    if (grid[0] * patch[0], grid[1] * patch[1]) != tuple(size):
        raise DataError(
            f"gapped_crop: patches of {patch[0]}x{patch[1]} do not fill {size[0]}x{size[1]}: set "
            "data.augment.patch to model.patch"
        )
    cells = (grid[0] * (patch[0] + gap), grid[1] * (patch[1] + gap))
    crop = random_resized_crop_flip(rng, image, cells, scale=scale, ratio=ratio, flip=flip)
    if not gap:
        return crop
    return cut_patches(crop, rng.integers(0, gap, (2, *grid)), patch)


def cut_patches(crop: np.ndarray, offsets: np.ndarray, patch: tuple[int, int]) -> np.ndarray:
    """Cut a patch out of each cell of a crop [H, W, C]; the patches fill a smaller picture.

    offsets: i[2, rows, columns] where patches begin in their cells, down and across.
    """
    rows, columns = offsets.shape[1:]
    height, width = crop.shape[0] // rows, crop.shape[1] // columns
    top = np.arange(rows)[:, None] * height + offsets[0]
    left = np.arange(columns)[None] * width + offsets[1]
    down = top[:, None, :, None] + np.arange(patch[0])[None, :, None, None]
    across = left[:, None, :, None] + np.arange(patch[1])[None, None, None, :]
    return crop[down, across].reshape(rows * patch[0], columns * patch[1], -1)
