"""Samplers made of samplers: mixtures, schedules, unions, complements, regions, several streams.

Each part draws from its own randomness, so that two parts of one kind are independent.
Masks that `mixture`, `schedule` and `per_stream` join have no `covered`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import NonNegative, OpenFraction
from maskmim.masks.core import MaskError, from_hidden, from_scores, keep_strongest, split_counts
from maskmim.types import Array, Context, Mask, Randomness

Sampler = Callable[[Randomness, Context], Mask]
Scores = Callable[[Randomness, Context], Array]


def mixture(
    randomness: Randomness,
    context: Context,
    *,
    samplers: Mapping[str, Sampler],
    weights: tuple[NonNegative, ...] = (),
) -> Mask:
    """Hide as one of several samplers does, drawn at random for each example.

    samplers: bricks by name; they must agree in their numbers of visible and predicted tokens.
    weights:  how often each is drawn, in alphabetical order of the names; () for equally often.

    Every sampler runs for all examples, so that the cost is the sum of theirs.
    Raises MaskError where sizes or the number of weights do not agree.
    """
    names = sorted(samplers)
    if len(weights) not in (0, len(names)):
        raise MaskError(
            f"mixture of {', '.join(names)}: {len(weights)} weights; give {len(names)}, or ()"
        )
    masks = {name: _part(samplers[name], randomness.inside(name), context) for name in names}
    _check_sizes(masks)
    odds = jnp.log(jnp.asarray(weights or (1.0,) * len(names), jnp.float32))
    keys = randomness.inside("mixture").each("mask")
    chosen = jax.vmap(lambda key: jax.random.categorical(key, odds))(keys)

    def pick(*parts: Array) -> Array:
        return jnp.stack(parts)[chosen, jnp.arange(chosen.shape[0])]

    return jax.tree.map(pick, *masks.values())


def schedule(
    randomness: Randomness, context: Context, *, first: Sampler, then: Sampler, until: OpenFraction
) -> Mask:
    """Hide as one sampler does up to a share of training, then as another does.

    until: share of training at which `then` takes over, above 0 and below 1.
    Only the current sampler runs. Raises MaskError where the two differ in their numbers of visible
    or predicted tokens, which are static; for a changing ratio use `methods.ratio_buckets`.
    Source: the official ColorMAE has an option to change the colour after a given epoch.
    """
    if not 0 < until < 1:
        raise MaskError(f"until {until}: a share of training, above 0 and below 1")
    parts = {"first": first, "then": then}
    shapes = {
        name: jax.eval_shape(lambda part=part: _part(part, randomness, context))
        for name, part in parts.items()
    }
    _check_sizes(shapes)
    return jax.lax.cond(
        jnp.asarray(context.progress) < until,
        lambda: _part(first, randomness.inside("first"), context),
        lambda: _part(then, randomness.inside("then"), context),
    )


def union(
    randomness: Randomness,
    context: Context,
    *,
    first: Sampler,
    second: Sampler,
    ratio: OpenFraction,
) -> Mask:
    """Hide what either of two samplers hides, brought to an exact ratio at random.

    ratio: share of hidden tokens. Where the two together hide more, random ones of these are shown;
    where they hide less, random other tokens are hidden too.
    """
    one = first(randomness.inside("first"), context).hidden
    other = second(randomness.inside("second"), context).hidden
    scores = -(one | other).astype(jnp.float32) + _noise(randomness, one)
    return from_scores(scores, ratio=ratio)


def complement(randomness: Randomness, context: Context, *, sampler: Sampler) -> Mask:
    """Hide what another sampler shows and show what it hides: ratio r becomes 1 - r.

    Raises MaskError where the sampler's visible and hidden tokens overlap or leave some out.
    """
    mask = sampler(randomness, context)
    visible, length = mask.visible.shape[-1], mask.hidden.shape[-1]
    if visible + mask.predict.shape[-1] != length:
        raise MaskError(
            f"complement: {visible} tokens are visible and {mask.predict.shape[-1]} predicted of "
            f"{length}: use a sampler that splits the tokens in two"
        )
    return from_hidden(~mask.hidden, count=visible)


@facts.sampler(needs=("region",))
def restricted(
    randomness: Randomness, context: Context, *, scores: Scores, ratio: OpenFraction
) -> Mask:
    """Hide the weakest tokens of a region, given as the hint 'region' bool[B, N].

    scores: brick, (randomness, context) -> f32[B, N]; ratio: share of ALL tokens that is hidden.
    A region too small for that is hidden completely, and the weakest tokens outside with it.
    """
    ranked = scores(randomness, context)
    visible, _ = split_counts(ranked.shape[-1], ratio)
    inside = context.hints["region"]
    order = jnp.lexsort((-ranked, inside), axis=-1)
    rows = jnp.arange(ranked.shape[0])[:, None]
    falling = jnp.arange(ranked.shape[-1], 0, -1, dtype=jnp.float32)
    places = jnp.zeros(ranked.shape, jnp.float32).at[rows, order].set(falling)
    hidden = ~keep_strongest(places, visible)
    return from_hidden(hidden, count=ranked.shape[-1] - visible)


def per_stream(
    randomness: Randomness, context: Context, *, samplers: Mapping[str, Sampler]
) -> Mask:
    """Hide tokens of each stream by its own sampler.

    samplers: bricks by the names of the streams; each sees only the grid of its stream. Hints with
    one value for each token, [B, N, ...], are cut into the parts of the streams; others are passed
    on as they are. Raises MaskError where the names of samplers and streams differ.
    """
    if sorted(samplers) != sorted(context.grids):
        raise MaskError(f"samplers for {sorted(samplers)}, but streams are {sorted(context.grids)}")
    masks, start = [], 0
    for name, grid in context.grids.items():
        size = math.prod(grid)
        part = _stream_context(context, name, start, size)
        mask = _part(samplers[name], randomness.inside(name), part)
        masks.append(mask._replace(visible=mask.visible + start, predict=mask.predict + start))
        start += size
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *masks)


def _stream_context(context: Context, name: str, start: int, size: int) -> Context:
    """Return the context of one stream, whose tokens are `size` ones from `start` on."""
    hints = {
        key: value[:, start : start + size]
        if value.ndim > 1 and value.shape[1] == context.length
        else value
        for key, value in context.hints.items()
    }
    return Context(context.batch, {name: context.grids[name]}, hints, context.progress)


def _part(sampler: Sampler, randomness: Randomness, context: Context) -> Mask:
    """Draw a mask to be joined with others: without `covered`, which not all samplers give."""
    return sampler(randomness, context)._replace(covered=None)


def _check_sizes(masks: Mapping[str, Mask]) -> None:
    sizes = {name: (m.visible.shape[-1], m.predict.shape[-1]) for name, m in masks.items()}
    if len(set(sizes.values())) > 1:
        numbers = ", ".join(
            f"{name} {shown} and {hidden}" for name, (shown, hidden) in sizes.items()
        )
        raise MaskError(f"samplers differ in visible and predicted tokens: {numbers}")


def _noise(randomness: Randomness, hidden: Array) -> Array:
    keys = randomness.inside("combine").each("mask")
    return jax.vmap(lambda key: jax.random.uniform(key, hidden.shape[1:], jnp.float32))(keys)
