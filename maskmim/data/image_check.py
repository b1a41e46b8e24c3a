"""A look at a few images before training: whether they use the range that the decoder assumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from maskmim.config.facts import bound_keywords, function_of
from maskmim.data.decode import as_stored, limits_of, picture, read_deep_image, scaled
from maskmim.data.records import BadImage, DataError, Records

SAMPLED, PIXELS = 16, 2**18  # Images, and values of each, that are looked at.
LEAST_SHARE = 0.1  # Of the range, or of pixels in it: less is worth a word.
CURE = (
    "`python -m maskmim.stats --path DIR` measures the images and prints the flags to use, such as "
    "--config.data.decode.value_range=LOW,HIGH"
)


def check_same_scale(train: Callable[..., Any], evals: Callable[..., Any]) -> None:
    """Raise DataError where the decoders of training and evaluation scale images differently."""
    functions = function_of(train), function_of(evals)
    if not set(functions) <= {picture, scaled, as_stored}:
        return
    scales = [_limits(decode) for decode in (train, evals)]
    real = [function is as_stored for function in functions]
    if scales[0] == scales[1] and real[0] == real[1]:
        return
    first, second = (
        f"{function.__name__} with value_range {limits or 'of the type'}"
        for function, limits in zip(functions, scales, strict=True)
    )
    raise DataError(
        f"data.decode is {first}, but evals.decode is {second}: evaluations and pictures would see "
        "other values than the training; give both the same"
    )


def _limits(decode: Callable[..., Any]) -> tuple[float, float] | None:
    """Return the range that a bound decoder maps to black and white; None for that of the type."""
    keywords = bound_keywords(decode)
    limits = limits_of(keywords.get("value_range"), keywords.get("bits"))
    return None if limits is None else (float(limits[0]), float(limits[1]))


def range_remarks(records: Records, decode: Callable[..., Any], channels: int) -> list[str]:
    """Return a line for each way in which deep images do not fit the decoder's range.

    Reads a few images of more than 8 bits, spread over the records: a line where their values use
    less than a tenth of the range, where more than a tenth of them lie outside, and where some are
    NaN. Nothing for 8-bit images and for decoders that do not scale.
    decode: the bound brick. Raises DataError where the images need a library that is missing.
    """
    if function_of(decode) not in (picture, scaled):
        return []
    given = _limits(decode)
    shares, kinds, ranges = [], set(), set()
    for index in np.linspace(0, len(records) - 1, min(SAMPLED, len(records))).round().astype(int):
        try:
            image = read_deep_image(records[int(index)].encoded, channels)
        except BadImage:
            continue
        if image is None or image.values.dtype == np.uint8:
            continue
        low, high = given or image.limits
        kinds.add(image.kind)
        ranges.add(f"{low:g} to {high:g}")
        values = image.values.ravel()
        values = values[:: -(-values.size // PIXELS)].astype(np.float64)
        shares.append((values - low) / (high - low))
    if not shares:
        return []
    what = f"{len(shares)} sampled images of type {', '.join(sorted(kinds))}"
    return _remarks(np.concatenate(shares), what, " or ".join(sorted(ranges)))


def _remarks(shares: np.ndarray, what: str, limits: str) -> list[str]:
    """Return the lines for pixels as shares of the range, 0 its low and 1 its high end."""
    remarks = []
    nan = np.isnan(shares).mean()
    if nan:
        remarks.append(f"{nan:.2g} of the pixels of {what} are NaN; they are read as black")
    shares = shares[~np.isnan(shares)]
    outside = ((shares < 0) | (shares > 1)).mean() if shares.size else 0.0
    inside = np.clip(shares, 0, 1)
    # Percentiles, as one bright pixel is no contrast.
    used = float(np.ptp(np.percentile(inside, (0.1, 99.9)))) if shares.size else 0.0
    if outside > LEAST_SHARE:
        remarks.append(f"{outside:.0%} of the pixels of {what} are outside {limits} and clipped")
    elif used < LEAST_SHARE:
        remarks.append(f"{what} use {used:.2%} of the range {limits}, so contrast is lost")
    return [f"note: {remark}: {CURE}" for remark in remarks]
