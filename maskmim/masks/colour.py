"""Colour-noise masks: white noise filtered on the device, its strongest values stay visible.

With G_s a Gaussian blur of white noise W: red G_s(W) is low-pass, blue W - G_s(W) high-pass, green
G_s1(W) - G_s2(W) band-pass (s1 < s2), purple W - green band-stop. The authors of ColorMAE publish
patterns, not sigmas; the defaults here are ours: the narrow sigma is 1 token, the wide one 2, so
that red + green + blue = W. `mask_tools.spectrum.spectrum` shows the effect of other values.

Mean size of 4-connected groups of visible tokens on 14 x 14 at 75 %: red 23, green 6.0, white 1.83,
purple 1.58, blue 1.51. With sigmas of (0.5, 1) purple has 1.94 and green 1.80: the order of green,
white and purple depends on the sigmas.

Source: ColorMAE (arXiv 2407.13036) and the repository carlosh93/ColorMAE.
Differences: every image gets its own fresh noise (the official code crops stored patterns, one crop
for each chunk of images; that procedure is `bank.cropped`), and fields are standardised before
ranking, see `gaussian.standardise`, so that every token is visible equally often.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from maskmim.config.ranges import Band, OpenFraction, Positive
from maskmim.masks.core import MaskError, from_scores
from maskmim.masks.gaussian import Blur, Filter, filtered_noise, standardise
from maskmim.types import Array, Context, Mask, Randomness

Colour = Literal["red", "green", "blue", "purple", "white"]

NARROW = 1.0
WIDE = 2.0


def red_filter(sigma: float = WIDE) -> Filter:
    """Return the low-pass filter G_s."""
    return (Blur(1.0, _positive(sigma)),)


def blue_filter(sigma: float = NARROW) -> Filter:
    """Return the high-pass filter 1 - G_s."""
    return (Blur(1.0, 0.0), Blur(-1.0, _positive(sigma)))


def green_filter(narrow: float = NARROW, wide: float = WIDE) -> Filter:
    """Return the band-pass filter G_s1 - G_s2."""
    narrow, wide = _increasing(narrow, wide)
    return (Blur(1.0, narrow), Blur(-1.0, wide))


def purple_filter(narrow: float = NARROW, wide: float = WIDE) -> Filter:
    """Return the band-stop filter 1 - (G_s1 - G_s2)."""
    narrow, wide = _increasing(narrow, wide)
    return (Blur(1.0, 0.0), Blur(-1.0, narrow), Blur(1.0, wide))


def white_filter() -> Filter:
    """Return the filter that changes nothing."""
    return (Blur(1.0, 0.0),)


# The filter of each colour and its number of sigmas.
FILTERS: dict[str, tuple[Callable[..., Filter], int]] = {
    "red": (red_filter, 1),
    "green": (green_filter, 2),
    "blue": (blue_filter, 1),
    "purple": (purple_filter, 2),
    "white": (white_filter, 0),
}


def filter_of(colour: str, sigmas: tuple[float, ...] = ()) -> Filter:
    """Return the filter of a colour by name, with its default sigmas for ().

    Raises MaskError for an unknown colour or a wrong number of sigmas.
    """
    if colour not in FILTERS:
        raise MaskError(f"unknown colour {colour!r}: use one of {', '.join(FILTERS)}")
    make, count = FILTERS[colour]
    if len(sigmas) not in (0, count):
        raise MaskError(f"{colour} noise takes {count} sigmas, got {sigmas}; () for the default")
    return make(*sigmas)


def red(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, sigma: Positive = WIDE
) -> Mask:
    """Hide all but large groups of tokens, by low-pass noise.

    ratio: share of hidden tokens, exact after rounding. sigma: of the blur, in tokens, above 0.
    Works on a grid of any number of axes. Source and differences: see the module.
    """
    return strongest(randomness, context, blurs=red_filter(sigma), ratio=ratio)


def green(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    sigmas: Band = (NARROW, WIDE),
) -> Mask:
    """Hide all but evenly spread groups of one size, by band-pass noise.

    The authors recommend this colour.

    ratio: share of hidden tokens, exact after rounding. sigmas: of the two blurs, in tokens,
    the first above 0, the second larger.
    Works on a grid of any number of axes. Source and differences: see the module.
    """
    return strongest(randomness, context, blurs=green_filter(*sigmas), ratio=ratio)


def blue(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, sigma: Positive = NARROW
) -> Mask:
    """Hide all but evenly spread single tokens, by high-pass noise.

    ratio: share of hidden tokens, exact after rounding. sigma: of the blur, in tokens, above 0.
    Works on a grid of any number of axes. Source and differences: see the module.
    """
    return strongest(randomness, context, blurs=blue_filter(sigma), ratio=ratio)


def purple(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    sigmas: Band = (NARROW, WIDE),
) -> Mask:
    """Hide all but groups of mixed sizes and single tokens, by band-stop noise.

    ratio: share of hidden tokens, exact after rounding. sigmas: of the two blurs, in tokens,
    the first above 0, the second larger.
    Works on a grid of any number of axes. Source and differences: see the module.
    """
    return strongest(randomness, context, blurs=purple_filter(*sigmas), ratio=ratio)


def white(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide random tokens, by unfiltered noise: distributed as `uniform.random`.

    ratio: share of hidden tokens, exact after rounding.
    """
    return from_scores(noise_scores(randomness, context, blurs=white_filter()), ratio=ratio)


def strongest(
    randomness: Randomness, context: Context, *, blurs: Filter, ratio: OpenFraction
) -> Mask:
    """Hide tokens where noise is weakest, standardised after any filter; any grid."""
    return from_scores(noise_scores(randomness, context, blurs=blurs), ratio=ratio)


def noise_scores(randomness: Randomness, context: Context, *, blurs: Filter) -> Array:
    """Draw standardised filtered noise f32[B, N]."""
    field = filtered_noise(randomness.each("mask"), context.grid, blurs)
    return standardise(field, blurs).reshape(field.shape[0], -1)


def colour_scores(
    randomness: Randomness,
    context: Context,
    *,
    colour: Colour = "green",
    sigmas: tuple[Positive, ...] = (),
) -> Array:
    """Draw the scores f32[B, N] that the sampler of a colour ranks."""
    return noise_scores(randomness, context, blurs=filter_of(colour, sigmas))


def _positive(sigma: float) -> float:
    if not sigma > 0:
        raise MaskError(f"sigma {sigma}: the blur of a colour needs a sigma above 0 tokens")
    return sigma


def _increasing(narrow: float, wide: float) -> tuple[float, float]:
    if not 0 < narrow < wide:
        raise MaskError(f"sigmas ({narrow}, {wide}): the first must be above 0, the second larger")
    return narrow, wide
