"""Ranges of hyperparameters: annotations that say which numbers, tuples and texts are allowed.

A brick declares the range of a keyword where it declares the keyword:

    from maskmim.config.ranges import OpenFraction, Positive

    def sampler(randomness, context, *, ratio: OpenFraction, sigmas: tuple[Positive, Positive]):
        ...

For a type checker `OpenFraction` is a float. `bind`, and `load` before it, refuse any other value
by a sentence: `mask.ratio: expected a number between 0 and 1 (both excluded), got nan`. No range
contains nan, and inf is in those only that say so. Tuples are checked element by element. A choice
of texts is a `typing.Literal`; a range of your own is `Annotated[float, Limits(...)]`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

INF = math.inf
# Counts are i32 on devices; a larger one is a slip, and is said to be too large.
MOST_INT = 2**31 - 1


@dataclass(frozen=True)
class Limits:
    """The numbers between two limits; `above` and `below` exclude the limit itself.

    words: the range in words, after 'a number', where those made of the limits are not plain.
    """

    low: float = -INF
    high: float = INF
    above: bool = False
    below: bool = False
    words: str = ""

    def allows(self, value: float) -> bool:
        """Return whether a number is in the range; nan never is."""
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        return over and under

    def describe(self, plain: str) -> str:
        """Return the range in words; plain: the type, 'a number' or 'numbers'."""
        if self.words:
            return f"{plain} {self.words}"
        if self.high in (INF, MOST_INT):
            return f"{plain} {'above' if self.above else 'of at least'} {self.low:g}"
        ends = {
            (False, False): "",
            (True, False): f" ({self.low:g} excluded)",
            (False, True): f" ({self.high:g} excluded)",
            (True, True): " (both excluded)",
        }
        return f"{plain} between {self.low:g} and {self.high:g}{ends[self.above, self.below]}"


@dataclass(frozen=True)
class Ascending:
    """Of a tuple of numbers: none is below the one before it; strictly: nor equal to it."""

    strictly: bool = False

    def allows(self, values: Sequence[float]) -> bool:
        """Return whether the numbers ascend."""
        pairs = itertools.pairwise(values)
        return all(a < b if self.strictly else a <= b for a, b in pairs)

    def describe(self, plain: str) -> str:
        """Return the order in words; plain: the tuple in words."""
        order = "each above the one before it" if self.strictly else "in ascending order"
        return f"{plain}, {order}"


@dataclass(frozen=True)
class OneOf:
    """Some numbers, as `typing.Literal` takes none with a fraction."""

    numbers: tuple[float, ...]

    def allows(self, value: float) -> bool:
        """Return whether a number is one of them."""
        return value in self.numbers

    def describe(self, plain: str) -> str:
        """Return the numbers in words."""
        return " or ".join(map(str, self.numbers))


@dataclass(frozen=True)
class AtLeastOne:
    """Of a tuple: it is not empty."""

    def allows(self, values: Sequence[Any]) -> bool:
        """Return whether there is an element."""
        return len(values) > 0

    def describe(self, plain: str) -> str:
        """Return the tuple in words; plain: 'a tuple of ...'."""
        return plain.replace("a tuple of", "one or more", 1)


@dataclass(frozen=True)
class RegularExpression:
    """Of a text: a regular expression that can be read."""

    def allows(self, value: str) -> bool:
        """Return whether the text is a regular expression."""
        try:
            re.compile(value)
        except re.error:
            return False
        return True

    def describe(self, plain: str) -> str:
        """Return the kind of text in words."""
        return {"texts": "regular expressions"}.get(plain, "a regular expression")


@dataclass(frozen=True)
class Hints:
    """Of a choice: sentences for values that are not offered, but that users try."""

    sentences: Mapping[str, str] = field(hash=False)

    def allows(self, value: Any) -> bool:
        """Return True: hints refuse nothing."""
        return True

    def describe(self, plain: str) -> str:
        """Return the choice in words as it is."""
        return plain


_finite = Limits(above=True, below=True, words="other than inf and nan")

Finite = Annotated[float, _finite]
Positive = Annotated[float, Limits(0.0, above=True, below=True)]
NonNegative = Annotated[float, Limits(0.0, below=True)]
PositiveOrInf = Annotated[float, Limits(0.0, above=True, words="above 0, or inf")]
NonNegativeOrInf = Annotated[float, Limits(0.0, words="of at least 0, or inf")]
Fraction = Annotated[float, Limits(0.0, 1.0)]
OpenFraction = Annotated[float, Limits(0.0, 1.0, above=True, below=True)]
PositiveFraction = Annotated[float, Limits(0.0, 1.0, above=True)]
FractionBelowOne = Annotated[float, Limits(0.0, 1.0, below=True)]

Pattern = Annotated[str, RegularExpression()]

PositiveInt = Annotated[int, Limits(1, MOST_INT)]
NonNegativeInt = Annotated[int, Limits(0, MOST_INT)]
# Blocks of a network; more of them would take hours to trace.
Depth = Annotated[int, Limits(1, 10_000)]
# Peak learning rates; a larger one is a slip, and only inf would follow.
LearningRate = Annotated[float, Limits(0.0, 1e6, above=True, words="above 0 and at most 1e6")]
Seed = Annotated[int, Limits(0, 2**63 - 1, words="between 0 and 2^63 - 1")]

# Two numbers, low and high, of which an augmentation or a sampler draws one.
FractionRange = Annotated[tuple[PositiveFraction, PositiveFraction], Ascending()]
PositiveRange = Annotated[tuple[Positive, Positive], Ascending()]

# Two sigmas of a filter, the second larger.
Band = Annotated[tuple[Positive, Positive], Ascending(strictly=True)]
# Shares of hidden tokens, one for each view; 0 hides nothing.
Shares = Annotated[tuple[FractionBelowOne, ...], AtLeastOne()]
# Learning rates that a probe compares.
Rates = Annotated[tuple[Positive, ...], AtLeastOne()]
# The largest turn of the colour circle, in whole circles.
HueShift = Annotated[float, Limits(0.0, 0.5)]

# Bits that a stored number has, and two numbers that become black and white.
Bits = Annotated[int, Limits(1, 32)]
ValueRange = Annotated[tuple[Finite, Finite], Ascending(strictly=True)]

# Tokens, pixels or frames along each axis of the input.
Sizes = Annotated[tuple[PositiveInt, ...], AtLeastOne()]
Size2D = tuple[PositiveInt, PositiveInt]
# One number for each channel.
Means = Annotated[tuple[Finite, ...], AtLeastOne()]
Deviations = Annotated[tuple[Positive, ...], AtLeastOne()]

_HALF = "float16 needs a scaled loss, which this training does not have: use bfloat16"
_DOUBLE = "training computes in float32 or bfloat16: use float32"
_SINGLE = "did you mean float32?"
_BRAIN = "did you mean bfloat16?"
DtypeName = Annotated[
    Literal["float32", "bfloat16"],
    Hints(
        {
            **dict.fromkeys(("float16", "fp16", "f16", "half", "16", "mixed"), _HALF),
            **dict.fromkeys(("float64", "fp64", "f64", "double", "64"), _DOUBLE),
            **dict.fromkeys(("fp32", "f32", "float", "single", "32", "tf32"), _SINGLE),
            **dict.fromkeys(("bf16", "bfloat", "brain"), _BRAIN),
        }
    ),
]
