"""What the gallery cannot know of samplers by itself, by the beginning of their names.

Of several beginnings that fit a name, the longest counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskmim.masks import colour

# Keywords without a default, the parts of combinators; the mask ratio need not be given. A sampler
# that lacks one here is listed, but not drawn.
KEYWORDS: Mapping[str, Mapping[str, Any]] = {
    "colour.strongest": {"blurs": colour.green_filter(0.5, 3.0)},
}

# Token grids that say more than the usual one.
GRIDS: Mapping[str, tuple[int, ...]] = {
    "audio.": (64, 8),
    "spans.": (128,),
}

# Samplers of spectrograms, shown on one.
SPECTROGRAMS: Mapping[str, bool] = {"audio.": True}

# Samplers of several streams: the streams' names, all on one grid. They get no hints.
STREAMS: Mapping[str, tuple[str, ...]] = {
    "modalities.": ("image", "depth", "labels"),
    "combine.per_stream": ("image", "depth"),
}


def of(name: str, known: Mapping[str, Any], otherwise: Any) -> Any:
    """What one of the mappings above says of a sampler, `otherwise` where it says nothing."""
    fitting = [start for start in known if name.startswith(start)]
    return known[max(fitting, key=len)] if fitting else otherwise
