"""What is hidden of a batch, and what may be known when that is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from maskmim.types.arrays import Array, Batch, Tree


class ContextError(ValueError):
    """What a brick asks of a batch that has something else; shown as a `UserError` is.

    A `UserError` itself would need maskmim.errors, which stands on the same floor.
    """

    exit_code = 2  # errors.USAGE


class Mask(NamedTuple):
    """What an encoder sees, what is withheld and what is predicted: three different things.

    visible: i32[B, K] tokens that enter the encoder, ascending.
    predict: i32[B, P] tokens that objectives are taken on, ascending.
    hidden:  bool[B, N] tokens whose content is withheld; one that is visible too carries the
             mask embedding.
    weight:  f32[B, P] the objectives' weight of each predicted token.
    covered: bool[B, N] hidden tokens of the region that a sampler chose to hide whole; None of a
             sampler that chooses none.
    """

    visible: Array
    predict: Array
    hidden: Array
    weight: Array
    covered: Array | None = None


@dataclass(frozen=True)
class Context:
    """What a sampler, teacher or target may know about the batch.

    batch:    the arrays of the batch, examples first.
    grids:    the token grid of each stream, static, in the order of the tokens; an image has one
              stream with (rows, columns), a clip (frames, rows, columns), a spectrogram (time,
              mel).
    hints:    what teachers found, by name.
    progress: f32[] share of training that is done, in [0, 1).
    classes:  of hints that are indices of classes, how many classes there are; static.
    params:   the model's parameters, without a gradient; () where nothing is trained.
    labels:   of each set of labels in batch['label'], how many classes it has; static.
    """

    batch: Batch
    grids: Mapping[str, tuple[int, ...]]
    hints: Mapping[str, Array]
    progress: Array | float = 0.0
    classes: Mapping[str, int] = field(default_factory=dict)
    params: Tree = ()
    labels: Mapping[str, int] = field(default_factory=dict)

    @property
    def grid(self) -> tuple[int, ...]:
        """The grid of the only stream; ContextError where there are several."""
        if len(self.grids) != 1:
            raise ContextError(
                f"a brick reads the token grid of one stream, but an example has "
                f"{', '.join(self.grids) or 'none'}: give a sampler for each stream by "
                "maskmim.masks.combine.per_stream, take an objective on one stream by "
                "maskmim.objectives.in_stream, or read Context.grids in a brick of your own"
            )
        return next(iter(self.grids.values()))

    @property
    def length(self) -> int:
        """N, the number of tokens of an example over all streams."""
        return sum(math.prod(grid) for grid in self.grids.values())
