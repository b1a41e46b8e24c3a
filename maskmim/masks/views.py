"""Several masks from one draw: disjoint, covering and complementary views, and asymmetric pairs.

`counts`, where a sampler has it, gives (visible, predicted) of each view, in their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax

from maskmim.masks import uniform
from maskmim.masks.combine import complement
from maskmim.masks.core import MaskError, from_hidden, keep_strongest, ranks, split_counts
from maskmim.masks.units import Unit, random_scores, tile_size, unit_counts
from maskmim.types import Array, Context, Mask, Randomness

Sampler = Callable[..., Mask]


def disjoint(
    randomness: Randomness, context: Context, *, ratio: float, views: int = 2
) -> tuple[Mask, ...]:
    """Views that see different tokens: each keeps another part of one random permutation.

    ratio: share of tokens hidden in each view, exact after rounding, see `split_counts`.
    views: how many; 2 for LUT, and with 4 at a ratio of 0.75 every token is visible once.
    Returns one Mask for each view. Raises MaskError where the views' visible tokens together are
    more than there are.
    Source: LUT (Learning with Unmasked Tokens), random_masking of models/models_lut.py,
    naver-ai/lut; FastConvMAE for four views.
    """
    noise = jax.vmap(lambda key: jax.random.uniform(key, (math.prod(context.grid),)))
    return disjoint_from_scores(noise(randomness.each("mask")), ratio=ratio, views=views)


def disjoint_from_scores(scores: Array, *, ratio: float, views: int = 2) -> tuple[Mask, ...]:
    """Views that keep the tokens of the largest scores, the next largest and so on: f32[B, N].

    Raises MaskError as `disjoint` does.
    """
    length = scores.shape[-1]
    visible, hidden = split_counts(length, ratio)
    if views < 1 or views * visible > length:
        raise MaskError(
            f"{views} disjoint views of {visible} visible tokens do not fit into {length}: raise "
            "mask.ratio or ask for fewer views, at least 1"
        )
    places = length - 1 - ranks(scores)
    return tuple(from_hidden(places // visible != view, count=hidden) for view in range(views))


def covering(
    randomness: Randomness, context: Context, *, ratio: float, unit: Unit = 2, views: int = 2
) -> tuple[Mask, ...]:
    """Views of unit-wise masks whose hidden tokens together are the whole grid.

    The units are put into one random order for each example; each view hides a stretch of it,
    stretches begin at even distances and run on from the end to the beginning. So two views hide
    as few tokens twice as can be: 11 of 49 units where each hides 30.

    ratio: share of hidden units in each view, counted as in `units.random`. unit: tokens along
    each axis. views: how many, at least 2.
    Returns one Mask for each view. Raises MaskError where the views hide too little to cover the
    grid (a ratio below about 1 / views).
    Source: DMJD (arXiv 2301.00230), block_masking of models_dmjd.py: 0.6 in the paper's main
    results, 0.75 by default in the code. `unit=1` is its random_masking.
    Differences: the official second view draws the units that both views hide by one permutation
    for the whole batch, here by each example's own; and below 0.5, where the official pair is
    disjoint but covers less than the image, is an error.
    """
    grid = context.grid
    counts = covering.counts(grid, ratio=ratio, unit=unit, views=views)
    places = ranks(random_scores(randomness, context, unit=unit))
    length = math.prod(grid)
    return tuple(
        from_hidden((places - start) % length < hidden, count=hidden)
        for start, (_, hidden) in zip(_starts(grid, unit, views), counts, strict=True)
    )


def _covering_counts(
    grid: tuple[int, ...], *, ratio: float, unit: Unit = 2, views: int = 2
) -> tuple[tuple[int, int], ...]:
    visible, hidden = unit_counts(grid, ratio=ratio, unit=unit)
    starts = _starts(grid, unit, views)
    ends = (*starts[1:], math.prod(grid))
    if views < 2 or hidden < max(end - start for start, end in zip(starts, ends, strict=True)):
        raise MaskError(
            f"{views} views that hide {hidden} of {math.prod(grid)} tokens do not cover the grid: "
            "raise mask.ratio or ask for more views, at least 2"
        )
    return ((visible, hidden),) * views


def _starts(grid: tuple[int, ...], unit: Unit, views: int) -> tuple[int, ...]:
    """Where the views' stretches begin: whole units where all are equal, else any token."""
    tile = tile_size(grid, unit)
    units = math.prod(grid) // tile
    return tuple(view * units // views * tile for view in range(views))


covering.counts = _covering_counts


def complementary(
    randomness: Randomness,
    context: Context,
    *,
    ratio: float,
    sampler: Sampler = uniform.random,
) -> tuple[Mask, ...]:
    """A pair of views: what the first sees the second hides, and the other way round.

    ratio:   share of hidden tokens of the first view; of the second it is 1 - ratio.
    sampler: brick, (randomness, context, ratio) -> Mask, draws the first view.
    Returns (first, second). Raises MaskError where the sampler does not split the tokens in two.
    """
    first = sampler(randomness, context, ratio=ratio)
    return first, complement(randomness, context, sampler=lambda *_: first)


def _complementary_counts(
    grid: tuple[int, ...], *, ratio: float, sampler: Sampler = uniform.random
) -> tuple[tuple[int, int], ...]:
    """Raises MaskError where the sampler's ratio leaves nothing."""
    if hasattr(sampler, "counts"):
        visible, hidden = sampler.counts(grid, ratio=ratio)
    else:
        visible, hidden = split_counts(math.prod(grid), ratio)
    return (visible, hidden), (hidden, visible)


complementary.counts = _complementary_counts


def asymmetric(
    randomness: Randomness, context: Context, *, ratios: tuple[float, ...] = (0.0, 0.95)
) -> tuple[Mask, ...]:
    """Independent uniform masks of different ratios: a view that sees much, one that sees little.

    ratios: share of hidden tokens of each view; 0 shows every token and predicts none. Hidden
    tokens are rounded up, so that `int((1 - ratio) * N)` are visible as in the sources: of 196, 9
    at 0.95 and 2 at 0.985.
    Returns one Mask for each ratio. Raises MaskError for a ratio below 0 or one that leaves
    nothing visible.
    Source: SiamMAE (arXiv 2305.14344), (0, 0.95): the first frame whole; CropMAE
    (arXiv 2403.17823), (0, 0.985), models/SiamMAE.py; MACRL, a high and a low ratio, not published.
    Differences: `int` as above loses a token where floating point falls below a whole number
    (0.9 of 10 tokens), here it does not.
    """
    drawn = []
    for view, (visible, hidden) in enumerate(asymmetric.counts(context.grid, ratios=ratios)):
        keys = randomness.inside(f"view {view}").each("mask")
        noise = jax.vmap(lambda key: jax.random.uniform(key, (context.length,)))(keys)
        drawn.append(from_hidden(~keep_strongest(noise, visible), count=hidden))
    return tuple(drawn)


def _asymmetric_counts(
    grid: tuple[int, ...], *, ratios: tuple[float, ...] = (0.0, 0.95)
) -> tuple[tuple[int, int], ...]:
    length = math.prod(grid)
    seen = [math.floor((1 - ratio) * length + 1e-9) for ratio in ratios]
    if not ratios or any(not 0 < visible <= length for visible in seen):
        raise MaskError(
            f"mask ratios {ratios} of {length} tokens leave {seen} visible: each must be at least "
            "0 and leave a token"
        )
    return tuple((visible, length - visible) for visible in seen)


asymmetric.counts = _asymmetric_counts
