"""The gallery's settings for samplers that need some, by prefixes of their names.

Of several prefixes that fit a name, the longest wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from maskmim.masks import colour, ratio, roles, uniform, units, varied

# Keywords without a default, such as the parts of combinators; the command gives the mask ratio. A
# sampler that lacks one here is listed but not drawn.
GREEN = partial(colour.green, ratio=0.75)
UNITS = partial(units.random, ratio=0.75)
HALF = partial(colour.red, ratio=0.5)
KEYWORDS: Mapping[str, Mapping[str, Any]] = {
    "colour.strongest": {"blurs": colour.green_filter(0.5, 3.0)},
    "combine.complement": {"sampler": GREEN},
    "combine.mixture": {
        "samplers": {"green": GREEN, "random": partial(uniform.random, ratio=0.75)}
    },
    "combine.per_stream": {"samplers": {"image": GREEN, "depth": UNITS}},
    "combine.restricted": {"scores": uniform.random_scores, "ratio": 0.5},
    "combine.schedule": {"first": GREEN, "then": partial(uniform.random, ratio=0.75), "until": 0.6},
    "combine.union": {"first": HALF, "second": HALF},
    "hinted.hinted": {
        "sampler": partial(varied.per_batch, scores=uniform.random_scores, law=ratio.uniform),
        "law": partial(ratio.uniform, low=0.1, high=0.5),
    },
    "roles.all_predicted": {"sampler": GREEN},
    "roles.hidden_weighted": {"sampler": GREEN},
    "roles.in_place": {"sampler": GREEN},
    "roles.partly_predicted": {"sampler": GREEN, "share": 1 / 3},
    "roles.spared": {"sampler": partial(roles.in_place, sampler=GREEN)},
    "varied.per_batch": {"scores": colour.colour_scores, "law": ratio.uniform},
    "varied.per_example": {"scores": uniform.random_scores, "law": ratio.along},
}

# Token grids that show more than the usual one.
GRIDS: Mapping[str, tuple[int, ...]] = {
    "audio.": (64, 8),
    "spans.": (128,),
}

# Samplers of spectrograms, shown on one.
SPECTROGRAMS: Mapping[str, bool] = {"audio.": True}

# Names of the streams of samplers of several, all on one grid. They get no hints.
STREAMS: Mapping[str, tuple[str, ...]] = {
    "modalities.": ("image", "depth", "labels"),
    "combine.per_stream": ("image", "depth"),
}


def example_setting(name: str, settings: Mapping[str, Any], default: Any) -> Any:
    """Return the setting of a sampler in one of the mappings above, or the default."""
    prefixes = [prefix for prefix in settings if name.startswith(prefix)]
    return settings[max(prefixes, key=len)] if prefixes else default
