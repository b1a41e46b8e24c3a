"""A look at a few images before training: whether they use the range that the decoder assumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from maskmim.config.facts import bound_keywords, function_of
from maskmim.data.decode import as_stored, limits_of, picture, read_deep_image, scaled
from maskmim.data.decode_each import decoders_of, each
from maskmim.data.records import BadImage, DataError, Example, Records
from maskmim.data.tiff_header import unread_pages
from maskmim.data.value_range import marks_among
from maskmim.errors import count_of
from maskmim.types import Spec

SAMPLED, PIXELS = 16, 2**18  # Images, and values of each, that are looked at.
LEAST_SHARE = 0.1  # Of the range, or of pixels in it: less is worth a word.
CURE = (
    "`python -m maskmim.stats --path DIR` measures the images and prints the flags to use, such as "
    "--config.data.decode.value_range=LOW,HIGH"
)


def check_same_scale(train: Callable[..., Any], evals: Callable[..., Any]) -> None:
    """Raise DataError where the decoders of training and evaluation scale images differently."""
    theirs = decoders_of(evals)
    for name, ours in decoders_of(train).items():
        if name in theirs:
            _check_same_scale(ours, theirs[name], f".streams.{name}" if name else "")


def _check_same_scale(train: Callable[..., Any], evals: Callable[..., Any], inside: str) -> None:
    """Compare two decoders; inside: what follows data.decode and evals.decode in their keys."""
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
        f"data.decode{inside} is {first}, but evals.decode{inside} is {second}: evaluations and "
        "pictures would see other values than the training; give both the same"
    )


def stream_remarks(records: Records, decode: Callable[..., Any], spec: Spec) -> list[str]:
    """Return `range_remarks` of every stream of amounts that `each` decodes, or of the only one."""
    if function_of(decode) is not each:
        return range_remarks(records, decode, spec.channels)
    remarks = []
    for name, inner in decoders_of(decode).items():
        if name in spec.arrays and not spec.arrays[name].classes:
            lines = range_remarks(OneStream(records, name), inner, spec.arrays[name].channels)
            remarks += [f"{name}: {line}" for line in lines]
    return remarks


class OneStream(Sequence):
    """The records of a source with what is stored of one stream alone."""

    def __init__(self, records: Records, stream: str):
        self._records, self._stream = records, stream
        self.labels, self.fingerprint = records.labels, records.fingerprint

    def name(self, index: int) -> str:
        """Return the record's name."""
        return self._records.name(index)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        example = self._records[index]
        if not isinstance(example.encoded, Mapping):
            return example
        if self._stream not in example.encoded:
            raise BadImage(f"no {self._stream}")
        return example._replace(encoded=example.encoded[self._stream])


def _limits(decode: Callable[..., Any]) -> tuple[float, float] | None:
    """Return the range that a bound decoder maps to black and white; None for that of the type."""
    keywords = bound_keywords(decode)
    limits = limits_of(keywords.get("value_range"), keywords.get("bits"))
    return None if limits is None else (float(limits[0]), float(limits[1]))


def range_remarks(records: Records, decode: Callable[..., Any], channels: int) -> list[str]:
    """Return a line for each way in which images do not fit the decoder's range, or are left out.

    Reads a few images, spread over the records: a line where files of more than 8 bits use less
    than a tenth of the range, where more than a tenth of their values lie outside, where some are
    NaN or no data, where one value seems to stand for no data, and where files have pages that are
    not read. Nothing for decoders of other bricks; as_stored has no range.
    decode: the bound brick. Raises DataError where the images need a library that is missing.
    """
    function = function_of(decode)
    if function not in (picture, scaled, as_stored):
        return []
    given = _limits(decode)
    shares, kinds, ranges, marks, paged = [], set(), set(), {}, []
    for index in np.linspace(0, len(records) - 1, min(SAMPLED, len(records))).round().astype(int):
        try:
            encoded = records[int(index)].encoded
            image = read_deep_image(encoded, channels)
            paged += [unread_pages(encoded, channels)] if isinstance(encoded, bytes) else []
        except BadImage:
            continue
        if image is None or image.values.dtype == np.uint8 or function is as_stored:
            continue
        low, high = given or image.limits
        kinds.add(image.kind)
        ranges.add(f"{low:g} to {high:g}")
        values = image.numbers.reshape(-1, image.values.shape[-1])
        values = values[:: -(-values.size // PIXELS)].astype(np.float64)
        marks |= _marks(values, low, high)
        shares.append(((values - low) / (high - low)).ravel())
    remarks = _page_remarks([count for count in paged if count])
    if not shares:
        return remarks
    what = f"{len(shares)} sampled images of type {', '.join(sorted(kinds))}"
    remarks += _remarks(np.concatenate(shares), what, " or ".join(sorted(ranges)))
    return remarks + _mark_remarks(marks, what)


def _marks(values: np.ndarray, low: float, high: float) -> dict[float, float]:
    """Return {value: share} of what seems to stand for no data within a range, of values [n, C]."""
    found: dict[float, float] = {}
    for column in values.T:
        found |= marks_among(*np.unique(column[np.isfinite(column)], return_counts=True))
    # What lies beyond the range is clipped already; its ends may be marks that widened it.
    return {mark: share for mark, share in found.items() if low <= mark <= high}


def _mark_remarks(marks: dict[float, float], what: str) -> list[str]:
    if not marks:
        return []
    words = " and ".join(f"{mark:.10g} ({share:.2%} of one)" for mark, share in marks.items())
    return [
        f"note: likely no data in {what}: {words} is far from all other values, and in the range: "
        f"mark it by GDAL's tag (gdal_edit.py -a_nodata VALUE FILE), or leave it out: {CURE}"
    ]


def _page_remarks(pages: list[int]) -> list[str]:
    """Return one line on files of which only the first page is read."""
    if not pages:
        return []
    most = f"up to {max(pages)}" if len(set(pages)) > 1 else f"{pages[0]}"
    return [
        f"note: {count_of(len(pages), 'sampled TIFF file')} of {most} pages: only the first page "
        "of each is read. Pages that are bands want input.channels equal to their number"
    ]


def _remarks(shares: np.ndarray, what: str, limits: str) -> list[str]:
    """Return the lines for pixels as shares of the range, 0 its low and 1 its high end."""
    remarks = []
    nan = np.isnan(shares).mean()
    if nan:
        remarks.append(
            f"{nan:.2g} of the pixels of {what} are NaN or no data; they are read as black"
        )
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
