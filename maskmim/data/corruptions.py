"""Corruptions of pictures by five severities, after ImageNet-C: noise, blur, light, compression.

Every corruption is `(rng, image, parameter) -> image`: rng a numpy Generator, which noise alone
reads; image f64[H, W, C] in [0, 1]; the result is rounded to u8 and clipped. `corrupted` draws the
noise of a picture from its index alone, so that every run sees the same pictures.

Source: ImageNet-C (arXiv 1903.12261; make_imagenet_c.py of hendrycks/robustness), whose parameters
at 224 px are those of `SEVERITIES`. Here, ours: lengths in pixels (PIXELS, the blurs) are scaled by
the shorter side / 224, so that a small picture is as blurred as the large one it was made of.
Noise is added for each pixel as published, and is then harder to see through on smaller pictures.
Other differences: values are rounded, ImageNet-C cuts them off and stores JPEG files of quality 85;
pictures need not be square. Of its 15 corruptions and 4 further ones these are the 8 that Pillow
and numpy make.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image

from maskmim.errors import UserError

# What ImageNet-C's parameters are made for, in pixels.
SIDE = 224
LEVELS = (1, 2, 3, 4, 5)
# Standard deviations of a Gaussian that are summed up, as scikit-image does.
TRUNCATE = 4.0
# Samples of a pixel along each axis, of which the area of a disk in it is counted.
SAMPLES = 9


class CorruptionError(UserError, ValueError):
    """A corruption that does not exist, or a picture that cannot be corrupted."""


def corrupted(image: np.ndarray, name: str, severity: int, *, index: int) -> np.ndarray:
    """Corrupt a picture u8[H, W, C], C 1 or 3; return u8 of the same shape.

    name: one of CORRUPTIONS. severity: 1 to 5. index: of the picture, which noise depends on;
    severities share their random numbers.
    Raises CorruptionError for another name, severity or kind of picture.
    """
    check_names([name])
    if severity not in LEVELS:
        raise CorruptionError(f"severity {severity}: use one of {LEVELS}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise CorruptionError(
            f"corruptions are made of pictures uint8[H, W, 3] or [H, W, 1], not of {image.dtype}"
            f"{list(image.shape)}"
        )
    parameter = SEVERITIES[name][severity - 1]
    if name in PIXELS:
        parameter *= min(image.shape[:2]) / SIDE
    rng = np.random.Generator(np.random.Philox(key=[index, zlib.crc32(name.encode())]))
    changed = CORRUPTIONS[name](rng, image / 255.0, parameter)
    return np.clip(np.rint(changed * 255.0), 0, 255).astype(np.uint8)


def check_names(names: tuple[str, ...] | list[str]) -> None:
    """Raise CorruptionError, listing those that there are, for a name that is no corruption."""
    if unknown := [name for name in names if name not in CORRUPTIONS]:
        known = ", ".join(CORRUPTIONS)
        raise CorruptionError(f"there is no corruption {unknown[0]!r}; known are {known}")


def gaussian_noise(rng: np.random.Generator, image: np.ndarray, deviation: float) -> np.ndarray:
    """Add normal noise to every value."""
    return image + rng.normal(size=image.shape, scale=deviation)


def shot_noise(rng: np.random.Generator, image: np.ndarray, photons: float) -> np.ndarray:
    """Draw every value from a Poisson law; photons: the mean for white."""
    return rng.poisson(image * photons) / photons


def gaussian_blur(_: np.random.Generator, image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur by a Gaussian of `sigma` pixels, cut off at 4 sigma; the edge is repeated outside."""
    reach = int(TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-12)) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padding = [(reach, reach) if each == axis else (0, 0) for each in range(3)]
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(image, padding, mode="edge"), len(weights), axis
        )
        image = windows @ weights
    return image


def defocus_blur(_: np.random.Generator, image: np.ndarray, radius: float) -> np.ndarray:
    """Blur by a disk of `radius` pixels; the picture is mirrored outside, without its edge.

    Difference, ours: pixels on the rim of the disk count by the area in it, where ImageNet-C blurs
    a disk of whole pixels slightly; radii below a pixel have a meaning so.
    """
    kernel = disk(radius)
    reach = len(kernel) // 2
    rows, columns, _channels = image.shape
    padding = [(reach, reach), (reach, reach), (0, 0)]
    padded = np.pad(image, padding, mode="reflect")
    spectrum = np.fft.rfft2(padded, axes=(0, 1))
    weights = np.fft.rfft2(kernel, padded.shape[:2])[..., None]
    blurred = np.fft.irfft2(spectrum * weights, padded.shape[:2], axes=(0, 1))
    return blurred[2 * reach : 2 * reach + rows, 2 * reach : 2 * reach + columns]


def disk(radius: float) -> np.ndarray:
    """Return the shares of pixels in a disk, f64[n, n] with the sum 1, n odd."""
    reach = math.ceil(max(radius - 0.5, 0.0))
    within = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    places = (np.arange(-reach, reach + 1)[:, None] + within).reshape(-1)
    inside = places[:, None] ** 2 + places**2 <= radius**2
    side = 2 * reach + 1
    area = inside.reshape(side, SAMPLES, side, SAMPLES).mean(axis=(1, 3))
    return area / area.sum()


def contrast(_: np.random.Generator, image: np.ndarray, share: float) -> np.ndarray:
    """Keep a share of each channel's differences to its mean."""
    means = image.mean(axis=(0, 1), keepdims=True)
    return (image - means) * share + means


def brightness(_: np.random.Generator, image: np.ndarray, amount: float) -> np.ndarray:
    """Raise the value of HSV, the largest of the channels; hue and saturation stay."""
    value = image.max(axis=2, keepdims=True)
    brighter = np.minimum(value + amount, 1.0)
    return np.where(value > 0, image * (brighter / np.maximum(value, 1e-12)), brighter)


def jpeg(_: np.random.Generator, image: np.ndarray, quality: float) -> np.ndarray:
    """Compress as JPEG and read it again."""
    file = io.BytesIO()
    as_picture(image).save(file, "JPEG", quality=int(quality))
    return as_array(Image.open(file))


def pixelate(_: np.random.Generator, image: np.ndarray, share: float) -> np.ndarray:
    """Shrink both sides to a share of their pixels, by means over boxes, and enlarge again."""
    rows, columns, _channels = image.shape
    small = max(1, int(columns * share)), max(1, int(rows * share))
    box = Image.Resampling.BOX
    return as_array(as_picture(image).resize(small, box).resize((columns, rows), box))


def as_picture(image: np.ndarray) -> Image.Image:
    """Return values f64[H, W, C] in [0, 1] as a picture of Pillow."""
    levels = np.rint(image * 255.0).astype(np.uint8)
    return Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)


def as_array(picture: Image.Image) -> np.ndarray:
    """Return a picture as f64[H, W, C] in [0, 1]."""
    levels = np.asarray(picture, np.float64) / 255.0
    return levels[..., None] if levels.ndim == 2 else levels


Corruption = Callable[[np.random.Generator, np.ndarray, float], np.ndarray]
CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "gaussian_noise": gaussian_noise,
        "shot_noise": shot_noise,
        "gaussian_blur": gaussian_blur,
        "defocus_blur": defocus_blur,
        "contrast": contrast,
        "brightness": brightness,
        "jpeg": jpeg,
        "pixelate": pixelate,
    }
)
# The parameter of each severity, as published for 224 px.
SEVERITIES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "shot_noise": (60, 25, 12, 5, 3),
        "gaussian_blur": (1, 2, 3, 4, 6),
        "defocus_blur": (3, 4, 6, 8, 10),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "jpeg": (25, 18, 15, 10, 7),
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
    }
)
# Those whose parameter is a length in pixels.
PIXELS = frozenset({"gaussian_blur", "defocus_blur"})
