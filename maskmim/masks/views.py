"""Several masks from one draw: disjoint, covering and complementary views, and asymmetric pairs.

A function of counts returns (visible, predicted) of each view, in their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction, PositiveInt, Shares
from maskmim.masks import uniform
from maskmim.masks.combine import complement
from maskmim.masks.core import MaskError, from_hidden, keep_strongest, ranks, split_counts
from maskmim.masks.units import Unit, random_scores, tile_size, unit_counts
from maskmim.types import Array, Context, Mask, Randomness

Sampler = Callable[..., Mask]


def disjoint(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, views: PositiveInt = 2
) -> tuple[Mask, ...]:
    """Hide all but a different part of one random permutation in each view.

    ratio: share of tokens hidden in each view, exact after rounding, see `split_counts`.
    views: number of views; 2 for LUT; with 4 at a ratio of 0.75 every token is visible once.
    Returns one Mask for each view. Raises MaskError where the views together would need more
    visible tokens than the grid has.
    Source: LUT (Learning with Unmasked Tokens), random_masking of models/models_lut.py,
    naver-ai/lut; FastConvMAE for four views.
    """
    noise = jax.vmap(lambda key: jax.random.uniform(key, (math.prod(context.grid),), jnp.float32))
    return disjoint_from_scores(noise(randomness.each("mask")), ratio=ratio, views=views)


def disjoint_from_scores(scores: Array, *, ratio: float, views: int = 2) -> tuple[Mask, ...]:
    """Show the tokens of the largest scores in one view, the next largest in the next, and so on.

    scores: f32[B, N]. Raises MaskError as `disjoint` does.
    """
    length = scores.shape[-1]
    visible, hidden = split_counts(length, ratio)
    if views < 1 or views * visible > length:
        raise MaskError(
            f"{views} disjoint views of {visible} visible tokens do not fit into {length}: raise "
            "the ratio or ask for fewer views, at least 1"
        )
    places = length - 1 - ranks(scores)
    return tuple(from_hidden(places // visible != view, count=hidden) for view in range(views))


def repeated_counts(
    grid: tuple[int, ...], *, ratio: OpenFraction, sampler: Sampler, views: PositiveInt = 2
) -> tuple[tuple[int, int], ...]:
    """Return the visible and hidden tokens of each view of `repeated`; raises as its sampler."""
    return (complementary_counts(grid, ratio=ratio, sampler=sampler)[0],) * views


@facts.sampler(counts=repeated_counts)
def repeated(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    sampler: Sampler,
    views: PositiveInt = 2,
) -> tuple[Mask, ...]:
    """Draw the masks of another sampler several times, independently.

    ratio, sampler: as of `complementary`. views: number of masks of an example.
    Source: data2vec 2.0 (arXiv 2212.07525), clone_batch: 16 masks of a picture share its targets.
    """
    draw = _at_ratio(sampler, ratio)
    each = (randomness.inside(f"view {view}") for view in range(views))
    return tuple(draw(own, context, ratio=ratio) for own in each)


def each(
    randomness: Randomness, context: Context, *, samplers: Mapping[str, Sampler]
) -> tuple[Mask, ...]:
    """Draw a mask by each of several samplers, in the order of their names.

    samplers: bricks by name, (randomness, context) -> Mask. Weights are divided by the number of
    predicted tokens of a mask, so that a mean over all views is the mean of their means.
    Source: V-JEPA (arXiv 2404.08471), MaskCollator of src/masks/multiblock3d.py and loss_fn of
    app/vjepa/train.py, facebookresearch/jepa.
    """
    masks = [samplers[name](randomness.inside(name), context) for name in sorted(samplers)]
    return tuple(mask._replace(weight=mask.weight / mask.predict.shape[1]) for mask in masks)


def covering_counts(
    grid: tuple[int, ...], *, ratio: OpenFraction, unit: Unit = 2, views: PositiveInt = 2
) -> tuple[tuple[int, int], ...]:
    """Return the visible and hidden tokens of each view of `covering`; raises as it does."""
    visible, hidden = unit_counts(grid, ratio=ratio, unit=unit)
    starts = _starts(grid, unit, views)
    ends = (*starts[1:], math.prod(grid))
    if views < 2 or hidden < max(end - start for start, end in zip(starts, ends, strict=True)):
        raise MaskError(
            f"{views} views that hide {hidden} of {math.prod(grid)} tokens do not cover the grid: "
            "raise the ratio or ask for more views, at least 2"
        )
    return ((visible, hidden),) * views


@facts.sampler(counts=covering_counts)
def covering(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    unit: Unit = 2,
    views: PositiveInt = 2,
) -> tuple[Mask, ...]:
    """Hide units so that the hidden tokens of all views together cover the grid.

    Each example draws one cyclic order of the units; each view hides a run of it, and runs start
    at even distances. So two views hide as few units twice as possible: 11 of 49 where each hides
    30.

    ratio: share of hidden units in each view, counted as in `units.random`. unit: tokens along
    each axis. views: number of views, at least 2.
    Returns one Mask for each view. Raises MaskError where the views hide too little to cover the
    grid (a ratio below about 1 / views).
    Source: DMJD (arXiv 2301.00230), block_masking of models_dmjd.py: 0.6 in the paper's main
    results, 0.75 by default in the code. `unit=1` is its random_masking.
    Differences: the official second view draws the units that both views hide by one permutation
    for the whole batch, here each example draws its own. A ratio below 0.5, where the official
    pair is disjoint but covers less than the image, is an error.
    """
    grid = context.grid
    counts = covering_counts(grid, ratio=ratio, unit=unit, views=views)
    places = ranks(random_scores(randomness, context, unit=unit))
    length = math.prod(grid)
    return tuple(
        from_hidden((places - start) % length < hidden, count=hidden)
        for start, (_, hidden) in zip(_starts(grid, unit, views), counts, strict=True)
    )


def _starts(grid: tuple[int, ...], unit: Unit, views: int) -> tuple[int, ...]:
    """Return the first token of each view's run, at a whole unit where all units are equal."""
    tile = tile_size(grid, unit)
    units = math.prod(grid) // tile
    return tuple(view * units // views * tile for view in range(views))


def complementary_counts(
    grid: tuple[int, ...], *, ratio: OpenFraction, sampler: Sampler | None = None
) -> tuple[tuple[int, int], ...]:
    """Return the visible and hidden tokens of both views of `complementary`.

    Raises MaskError where the sampler would show or hide nothing, and as `complementary`.
    """
    sampler = _at_ratio(sampler, ratio)
    if counts := facts.facts_of(sampler).counts:
        visible, hidden = counts(grid, **{**facts.bound_keywords(sampler), "ratio": ratio})
    else:
        visible, hidden = split_counts(math.prod(grid), ratio)
    return (visible, hidden), (hidden, visible)


@facts.sampler(counts=complementary_counts)
def complementary(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    sampler: Sampler | None = None,
) -> tuple[Mask, ...]:
    """Hide in the second of two views what the first shows, and show what it hides.

    ratio:   share of hidden tokens of the first view; that of the second is 1 - ratio.
    sampler: brick, (randomness, context, ratio) -> Mask, draws the first view; None for
             `uniform.random`. Its own ratio, where it has one, is the same.
    Returns (first, second). Raises MaskError where the sampler does not split the tokens in two,
    and where it has another ratio.
    """
    first = _at_ratio(sampler, ratio)(randomness, context, ratio=ratio)
    return first, complement(randomness, context, sampler=lambda *_: first)


def _at_ratio(sampler: Sampler | None, ratio: float) -> Sampler:
    """Return the sampler of a ratio, by default the uniform one; MaskError for another ratio."""
    if sampler is None:
        return uniform.random
    own = facts.bound_keywords(sampler).get("ratio", ratio)
    if own != ratio:
        raise MaskError(
            f"views of ratio {ratio:g} are drawn by a sampler of ratio {own:g}: set "
            "mask.sampler.ratio and mask.ratio to the same value"
        )
    return sampler


def asymmetric_counts(
    grid: tuple[int, ...], *, ratios: Shares = (0.0, 0.95)
) -> tuple[tuple[int, int], ...]:
    """Return the visible and hidden tokens of each view of `asymmetric`; raises as it does."""
    length = math.prod(grid)
    shown = [math.floor((1 - ratio) * length + 1e-9) for ratio in ratios]
    if not ratios or any(not 0 < visible <= length for visible in shown):
        raise MaskError(
            f"mask ratios {ratios} of {length} tokens leave {shown} visible: each must be at least "
            "0 and leave a token"
        )
    return tuple((visible, length - visible) for visible in shown)


@facts.sampler(counts=asymmetric_counts)
def asymmetric(
    randomness: Randomness, context: Context, *, ratios: Shares = (0.0, 0.95)
) -> tuple[Mask, ...]:
    """Hide independent random subsets, much in one view and little in another.

    ratios: share of hidden tokens of each view; 0 shows every token and predicts none. Hidden
    tokens are rounded up, so that `int((1 - ratio) * N)` are visible as in the sources: of 196, 9
    at 0.95 and 2 at 0.985.
    Returns one Mask for each ratio. Raises MaskError for a ratio below 0 or one that leaves
    nothing visible.
    Source: SiamMAE (arXiv 2305.14344), (0, 0.95): the first frame whole; CropMAE
    (arXiv 2403.17823), (0, 0.985), models/SiamMAE.py; MACRL, a high and a low ratio, not published.
    Differences: the sources lose a visible token where floating point falls below a whole number
    (0.9 of 10 tokens).
    """
    masks = []
    for view, (visible, hidden) in enumerate(asymmetric_counts(context.grid, ratios=ratios)):
        keys = randomness.inside(f"view {view}").each("mask")
        noise = jax.vmap(lambda key: jax.random.uniform(key, (context.length,), jnp.float32))(keys)
        masks.append(from_hidden(~keep_strongest(noise, visible), count=hidden))
    return tuple(masks)
