"""Masks over several streams of tokens, which share the visible tokens among the streams.

N is the number of tokens of all streams together, in the order of `context.grids`. For different
samplers in different streams see `combine.per_stream`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from maskmim.config.ranges import Fraction, OpenFraction, Positive
from maskmim.masks.core import MaskError, from_hidden, keep_strongest, ranks, split_counts
from maskmim.types import Array, Context, Mask, Randomness

Alpha = Positive | tuple[Positive, ...]


def dirichlet(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, alpha: Alpha = 1.0
) -> Mask:
    """Hide tokens so that streams share the visible ones by a Dirichlet distribution.

    ratio: share of hidden tokens over all streams, exact after rounding, see `split_counts`;
    MultiMAE shows 98 of 3 * 196, a ratio of 5/6. alpha: parameter of the distribution, one number
    for all streams or one for each, above 0; small ones give nearly all tokens to one stream.
    The visible tokens of a stream are a uniformly random subset; `masks_of_shares` turns shares
    into numbers of tokens. With one stream the mask is uniformly random.
    Raises MaskError for an alpha that is not above 0 or a wrong number of them.
    Source: MultiMAE (arXiv 2204.01678), generate_random_masks of multimae/multimae.py.
    """
    concentration = _concentration(alpha, len(context.grids))
    keys = randomness.inside("shares").each("mask")
    shares = jax.vmap(
        lambda key: jax.nn.softmax(jax.random.loggamma(key, concentration, dtype=jnp.float32))
    )(keys)
    return _draw_masks(randomness, context, shares, ratio)


def dirichlet_subset(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, alpha: Alpha = 1.0
) -> Mask:
    """Hide as `dirichlet` does, but share among a random subset of the streams.

    Every non-empty subset is equally likely. Streams outside it are hidden completely, unless those
    inside have too few tokens or their shares round to too few in all.
    ratio, alpha, errors: see `dirichlet`.
    Source: sample_tasks_uniformly of multimae/multimae.py, off by default.
    Differences: alpha is 0 outside the subset, where the official code has 1e-5.
    """
    count = len(context.grids)
    concentration = _concentration(alpha, count)

    def draw(key: Array) -> Array:
        for_subset, for_shares = jax.random.split(key)
        subset = jax.random.randint(for_subset, (), 1, 2**count, jnp.int32)
        chosen = subset >> jnp.arange(count) & 1
        weights = jax.random.loggamma(for_shares, concentration, dtype=jnp.float32)
        return jax.nn.softmax(jnp.where(chosen == 1, weights, -jnp.inf))

    keys = randomness.inside("shares").each("mask")
    return _draw_masks(randomness, context, jax.vmap(draw)(keys), ratio)


def _concentration(alpha: Alpha, streams: int) -> Array:
    values = (alpha,) * streams if isinstance(alpha, int | float) else tuple(alpha)
    if len(values) != streams or any(not value > 0 for value in values):
        raise MaskError(
            f"alpha {alpha} for {streams} streams: give one number above 0, or one for each stream"
        )
    return jnp.asarray(values, jnp.float32)


def _draw_masks(randomness: Randomness, context: Context, shares: Array, ratio: float) -> Mask:
    visible, _ = split_counts(context.length, ratio)

    def draw(key: Array) -> tuple[Array, Array]:
        for_order, for_rest = jax.random.split(key)
        shape = (context.length,)
        return jax.random.uniform(for_order, shape, jnp.float32), jax.random.uniform(
            for_rest, shape, jnp.float32
        )

    noise, rest = jax.vmap(draw)(randomness.each("mask"))
    parts = [ranks(part) for part in jnp.split(noise, _ends(context), axis=1)]
    return masks_of_shares(shares, parts, rest, visible=visible)


def masks_of_shares(shares: Array, places: list[Array], noise: Array, *, visible: int) -> Mask:
    """Show `visible` tokens divided among streams by given shares; nothing is random.

    shares: f32[B, S], sums 1; places: for each stream i32[B, its tokens], a permutation of 0, 1,
    ...; noise: f32[B, N] in [0, 1).
    Stream s requests `round(shares[s] * visible)` of its tokens, those of the lowest places, or all
    it has if these are fewer. Where the requests exceed `visible`, the requested tokens of largest
    noise are left out; where they fall short, other tokens of smallest noise are added, from any
    stream.
    Source: generate_random_masks of multimae/multimae.py.
    """
    counts = jnp.round(shares * visible).astype(jnp.int32)
    requested = [part < counts[:, stream, None] for stream, part in enumerate(places)]
    others = (~jnp.concatenate(requested, axis=1)).astype(jnp.float32)
    shown = keep_strongest(-(others + noise), visible)
    return from_hidden(~shown, count=shown.shape[-1] - visible)


def independent(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    ratios: Mapping[str, Fraction] | None = None,
) -> Mask:
    """Hide an independent random subset of each stream, each with its own ratio.

    ratio:  share of hidden tokens of every stream that `ratios` does not name.
    ratios: by stream; AV-MAE has 0.9 for video and 0.7 for sound. 0 shows a stream completely, 1
    hides it completely; others are exact after rounding, with at least one token visible and one
    hidden.
    Raises MaskError for an unknown stream, and where nothing is visible or nothing hidden.
    Source: AV-MAE (arXiv 2212.05922); ratios of 0 and 1 are its inpainting objective.
    """
    counts = stream_counts(context.grids, ratio=ratio, ratios=ratios)
    keys = randomness.each("mask")
    noise = jax.vmap(lambda key: jax.random.uniform(key, (context.length,), jnp.float32))(keys)
    parts = jnp.split(noise, _ends(context), axis=1)
    shown = [
        keep_strongest(part, visible)
        for part, (visible, _) in zip(parts, counts.values(), strict=True)
    ]
    hidden = sum(count for _, count in counts.values())
    return from_hidden(~jnp.concatenate(shown, axis=1), count=hidden)


def stream_counts(
    grids: Mapping[str, tuple[int, ...]],
    *,
    ratio: OpenFraction,
    ratios: Mapping[str, Fraction] | None = None,
) -> dict[str, tuple[int, int]]:
    """Return the visible and hidden tokens of each stream of `independent`; raises as it does."""
    ratios = ratios or {}
    unknown = sorted(set(ratios) - set(grids))
    if unknown:
        raise MaskError(
            f"ratios names {unknown}, but streams are {sorted(grids)}: use names of streams"
        )
    counts = {}
    for name, grid in grids.items():
        length, share = math.prod(grid), ratios.get(name, ratio)
        if name in ratios and share in (0, 1):
            counts[name] = (0, length) if share else (length, 0)
        else:
            counts[name] = split_counts(length, share)
    visible, hidden = (sum(numbers) for numbers in zip(*counts.values(), strict=True))
    if not visible or not hidden:
        raise MaskError(
            f"the ratios {dict(ratios)} leave {visible} tokens visible and {hidden} hidden: at "
            "least one of each is needed"
        )
    return counts


def same_places(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide the same uniformly random places in every stream.

    ratio: share of hidden places, exact after rounding. With one stream it is `uniform.random`.
    Raises MaskError where grids differ.
    Source: SatMAE (arXiv 2207.08051), spatial_mask of models_mae_group_channels.py, for groups of
    channels. SatMAE's default, better by its own ablation, draws from the tokens of all streams
    together.
    """
    first, *others = context.grids.values()
    if any(grid != first for grid in others):
        raise MaskError(
            f"same_places needs equal grids, got {dict(context.grids)}: use modalities.independent"
        )
    length = math.prod(first)
    keys = randomness.each("mask")
    noise = jax.vmap(lambda key: jax.random.uniform(key, (length,), jnp.float32))(keys)
    visible, hidden = split_counts(length, ratio)
    streams = len(context.grids)
    in_every_stream = jnp.tile(~keep_strongest(noise, visible), (1, streams))
    return from_hidden(in_every_stream, count=hidden * streams)


def _ends(context: Context) -> list[int]:
    """Return the end of each stream but the last, in tokens."""
    return list(itertools.accumulate(map(math.prod, context.grids.values())))[:-1]
