"""Colour-noise masks: white noise filtered on the device, its strongest values stay visible.

With G_s a Gaussian blur of white noise W: red G_s(W) is low-pass, blue W - G_s(W) high-pass, green
G_s1(W) - G_s2(W) band-pass (s1 < s2), purple W - green band-stop. The authors of ColorMAE do not
say their sigmas (they offer finished patterns); the defaults here are ours: the narrow sigma is
1 token, the wide one 2, so that red + green + blue = W. `spectrum.spectrum` shows what other values
do.

Mean size of 4-connected groups of visible tokens on 14 x 14 at 75 %: red 23, green 6.0, white 1.83,
purple 1.58, blue 1.51. Sigmas of (0.5, 1) turn purple into 1.94 and green into 1.80: the order of
green, white and purple is not a matter of course.

Source: ColorMAE (arXiv 2407.13036) and the repository carlosh93/ColorMAE.
Differences: every image gets fresh noise of its own (the official code crops stored patterns, one
crop for each chunk of images; that procedure is `bank.cropped`), and fields are evened before
ranking, see `gaussian.evened`, so that every token is visible equally often.
"""

from __future__ import annotations

from collections.abc import Callable

from maskmim.masks.core import MaskError, from_scores
from maskmim.masks.gaussian import Blur, Filter, evened, filtered_noise
from maskmim.types import Array, Context, Mask, Randomness

NARROW = 1.0
WIDE = 2.0


def red_filter(sigma: float = WIDE) -> Filter:
    """Low-pass: G_s."""
    return (Blur(1.0, _positive(sigma)),)


def blue_filter(sigma: float = NARROW) -> Filter:
    """High-pass: 1 - G_s."""
    return (Blur(1.0, 0.0), Blur(-1.0, _positive(sigma)))


def green_filter(narrow: float = NARROW, wide: float = WIDE) -> Filter:
    """Band-pass: G_s1 - G_s2."""
    narrow, wide = _increasing(narrow, wide)
    return (Blur(1.0, narrow), Blur(-1.0, wide))


def purple_filter(narrow: float = NARROW, wide: float = WIDE) -> Filter:
    """Band-stop: 1 - (G_s1 - G_s2)."""
    narrow, wide = _increasing(narrow, wide)
    return (Blur(1.0, 0.0), Blur(-1.0, narrow), Blur(1.0, wide))


def white_filter() -> Filter:
    """No filter."""
    return (Blur(1.0, 0.0),)


# Each colour's filter and how many sigmas it takes.
FILTERS: dict[str, tuple[Callable[..., Filter], int]] = {
    "red": (red_filter, 1),
    "green": (green_filter, 2),
    "blue": (blue_filter, 1),
    "purple": (purple_filter, 2),
    "white": (white_filter, 0),
}


def filter_of(colour: str, sigmas: tuple[float, ...] = ()) -> Filter:
    """The filter of a colour by name, with its default sigmas for ().

    Raises MaskError for an unknown colour or a wrong number of sigmas.
    """
    if colour not in FILTERS:
        raise MaskError(f"colour {colour!r} is none of {', '.join(FILTERS)}")
    make, count = FILTERS[colour]
    if len(sigmas) not in (0, count):
        raise MaskError(f"{colour} noise takes {count} sigmas, got {sigmas}; () is the default")
    return make(*sigmas)


def red(randomness: Randomness, context: Context, *, ratio: float, sigma: float = WIDE) -> Mask:
    """Large blobs of visible tokens: low-pass noise.

    ratio: share of hidden tokens, exact after rounding. sigma: of the blur, in tokens, above 0.
    Works on a grid of any number of axes. Source and differences: see the module.
    """
    return strongest(randomness, context, blurs=red_filter(sigma), ratio=ratio)


def green(
    randomness: Randomness,
    context: Context,
    *,
    ratio: float,
    sigmas: tuple[float, float] = (NARROW, WIDE),
) -> Mask:
    """Blobs of one size spread evenly: band-pass noise, what the authors recommend.

    ratio: share of hidden tokens, exact after rounding. sigmas: of the two blurs, in tokens,
    the first above 0, the second larger.
    Works on a grid of any number of axes. Source and differences: see the module.
    """
    return strongest(randomness, context, blurs=green_filter(*sigmas), ratio=ratio)


def blue(randomness: Randomness, context: Context, *, ratio: float, sigma: float = NARROW) -> Mask:
    """Single visible tokens spread evenly: high-pass noise.

    ratio: share of hidden tokens, exact after rounding. sigma: of the blur, in tokens, above 0.
    Works on a grid of any number of axes. Source and differences: see the module.
    """
    return strongest(randomness, context, blurs=blue_filter(sigma), ratio=ratio)


def purple(
    randomness: Randomness,
    context: Context,
    *,
    ratio: float,
    sigmas: tuple[float, float] = (NARROW, WIDE),
) -> Mask:
    """High and low frequencies without those between: band-stop noise.

    ratio: share of hidden tokens, exact after rounding. sigmas: of the two blurs, in tokens,
    the first above 0, the second larger.
    Works on a grid of any number of axes. Source and differences: see the module.
    """
    return strongest(randomness, context, blurs=purple_filter(*sigmas), ratio=ratio)


def white(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Noise without a filter: the distribution is that of `uniform.random`.

    ratio: share of hidden tokens, exact after rounding.
    """
    return from_scores(noise_scores(randomness, context, blurs=white_filter()), ratio=ratio)


def strongest(randomness: Randomness, context: Context, *, blurs: Filter, ratio: float) -> Mask:
    """Keeps the tokens visible where evened filtered noise is strongest; any grid, any filter."""
    return from_scores(noise_scores(randomness, context, blurs=blurs), ratio=ratio)


def noise_scores(randomness: Randomness, context: Context, *, blurs: Filter) -> Array:
    """Evened filtered noise f32[B, N]."""
    field = filtered_noise(randomness.each("mask"), context.grid, blurs)
    return evened(field, blurs).reshape(field.shape[0], -1)


def colour_scores(
    randomness: Randomness,
    context: Context,
    *,
    colour: str = "green",
    sigmas: tuple[float, ...] = (),
) -> Array:
    """The scores f32[B, N] of a colour by name: what its sampler ranks."""
    return noise_scores(randomness, context, blurs=filter_of(colour, sigmas))


def _positive(sigma: float) -> float:
    if not sigma > 0:
        raise MaskError(f"sigma {sigma}: the blur of a colour needs a sigma above 0 tokens")
    return sigma


def _increasing(narrow: float, wide: float) -> tuple[float, float]:
    if not 0 < narrow < wide:
        raise MaskError(f"sigmas ({narrow}, {wide}): the first must be above 0, the second larger")
    return narrow, wide
