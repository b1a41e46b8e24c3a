"""Masks by region: every token has a label, such as a face part, an object or a segment.

Samplers read the labels as the hint 'labels' i32[B, N]; `region_maps` computes them from maps of
pixels. Tokens whose label is outside 0 .. regions - 1 together count as one more region.

Source: FSFM (CVPR 2025), section 3.1, and collate_fn_crfrp of fsfm-3c/util/datasets.py,
wolo-wolo/FSFM-CVPR25; `object_first` and `background_first` are ours.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import Fraction, NonNegativeInt, OpenFraction, PositiveInt
from maskmim.masks.core import MaskError, from_hidden, from_scores, split_counts
from maskmim.masks.region_maps import FACE_CANDIDATES, FACE_REGIONS
from maskmim.types import Array, Context, Mask, Randomness


@facts.sampler(needs=("labels",))
def covered(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    regions: PositiveInt = FACE_REGIONS,
    candidates: tuple[NonNegativeInt, ...] = FACE_CANDIDATES,
) -> Mask:
    """Hide one random region completely and the same share of every other (CRFR-P).

    ratio: share of hidden tokens, exact after rounding. regions: number of labels.
    candidates: labels that may be covered. A candidate that an example lacks covers nothing in it;
    of a candidate larger than the number of hidden tokens, random tokens stay visible.
    `Mask.covered` marks the hidden tokens of the region.
    Raises MaskError for candidates that are not labels.
    Source: CRFR_P_masking, see the module.
    Differences: the region is drawn for each example; the official code draws one per batch. The
    official shares are rounded region by region, and the surplus or missing tokens (at most half a
    token for each region) go to random tokens; here they go to the largest remainders, so that
    every region keeps its share within one token. Where no rounding is needed, both hide the same
    number of tokens of each region. A token has one label; official regions overlap, see
    `covered_overlapping`.
    """
    labels = _grouped_labels(context.hints["labels"], regions)
    region = covered_region(randomness, regions=regions, candidates=candidates)
    inside = labels == region[:, None]
    mask = _cover(randomness, inside, labels, regions=regions, ratio=ratio)
    return mask._replace(covered=inside & mask.hidden)


@facts.sampler(needs=("members",))
def covered_overlapping(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    candidates: tuple[NonNegativeInt, ...] = FACE_CANDIDATES,
) -> Mask:
    """Hide as `covered` does where tokens belong to several regions, as in FSFM.

    Reads the hint 'members' bool[B, N, R], such as `region_maps.face_members`: all tokens of the
    covered region belong to it; any other token counts for the first region it belongs to.
    ratio, candidates, what raises, source and differences: see `covered`.
    """
    members = context.hints["members"]
    regions = members.shape[-1]
    region = covered_region(randomness, regions=regions, candidates=candidates)
    inside = jnp.take_along_axis(members, region[:, None, None], axis=2)[..., 0]
    labels = jnp.where(members.any(-1), jnp.argmax(members, axis=-1), regions)
    mask = _cover(randomness, inside, labels, regions=regions, ratio=ratio)
    return mask._replace(covered=inside & mask.hidden)


def covered_region(
    randomness: Randomness,
    *,
    regions: PositiveInt = FACE_REGIONS,
    candidates: tuple[NonNegativeInt, ...] = FACE_CANDIDATES,
) -> Array:
    """Draw the region i32[B] that `covered` covers in each example, one of the candidates."""
    if not candidates or not all(0 <= label < regions for label in candidates):
        raise MaskError(f"candidates {candidates}: one or more labels from 0 to {regions - 1}")
    draw = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(candidates), jnp.int32))
    return jnp.array(candidates, jnp.int32)[draw(randomness.each("region"))]


@facts.sampler(needs=("labels",))
def proportional(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    regions: PositiveInt = FACE_REGIONS,
) -> Mask:
    """Hide the same share of every region, within one token (FSFM's FRP).

    ratio: share of hidden tokens, exact after rounding. regions: number of labels.
    Source: FSFM, the ablation of masking strategies; that variant is not in its repository. The
    rounding is that of `covered`.
    """
    labels = _grouped_labels(context.hints["labels"], regions)
    nothing = jnp.zeros(labels.shape, bool)
    return _cover(randomness, nothing, labels, regions=regions, ratio=ratio)


@facts.sampler(needs=("labels",))
def whole(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    regions: PositiveInt = FACE_REGIONS,
) -> Mask:
    """Hide whole regions in a random order, the last one in part.

    ratio: share of hidden tokens, exact after rounding. regions: number of labels.
    Source: FSFM, only its idea of covering a region; no published code.
    """
    labels = _grouped_labels(context.hints["labels"], regions)

    def score(key: Array, labels: Array) -> Array:
        for_order, for_tokens = jax.random.split(key)
        turn = jnp.argsort(jax.random.uniform(for_order, (regions + 1,), jnp.float32))
        return turn[labels].astype(jnp.float32) + jax.random.uniform(
            for_tokens, labels.shape, jnp.float32
        )

    return from_scores(jax.vmap(score)(randomness.each("mask"), labels), ratio=ratio)


@facts.sampler(needs=("labels",))
def object_first(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    objects: tuple[NonNegativeInt, ...] = (1,),
    hints: Fraction = 0.1,
) -> Mask:
    """Hide the tokens of objects first, except a few that stay visible as hints.

    ratio: share of hidden tokens, exact after rounding. objects: labels of objects; all other
    labels are background. hints: share of the objects' tokens left visible, at random; they are
    hidden last, only where the background is too small.
    Raises MaskError for hints outside [0, 1].
    Source: ours, after the hints of AttMask (attmask.py, with 0.1) and Self-Guided MAE.
    """
    if not 0 <= hints <= 1:
        raise MaskError(f"hints {hints}: a share of the objects' tokens, from 0 to 1")
    inside = _object_tokens(context.hints["labels"], objects)
    noise = _noise(randomness, inside.shape[-1])
    order = jnp.argsort(jnp.where(inside, noise, 2.0), axis=-1)
    place = jnp.argsort(order, axis=-1)
    shown = jnp.round(hints * inside.sum(-1, keepdims=True).astype(jnp.float32))
    stage = jnp.where(inside, jnp.where(place < shown.astype(place.dtype), 2.0, 0.0), 1.0)
    return from_scores(stage + noise, ratio=ratio)


@facts.sampler(needs=("labels",))
def background_first(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    objects: tuple[NonNegativeInt, ...] = (1,),
) -> Mask:
    """Hide random tokens of the background first, those of objects last.

    ratio: share of hidden tokens, exact after rounding. objects: labels of objects; all other
    labels are background.
    Source: ours, the control experiment of `object_first`.
    """
    inside = _object_tokens(context.hints["labels"], objects)
    return from_scores(
        inside.astype(jnp.float32) + _noise(randomness, inside.shape[-1]), ratio=ratio
    )


def _grouped_labels(labels: Array, regions: int) -> Array:
    """Replace labels outside 0 .. regions - 1 by the label `regions`."""
    return jnp.where((labels >= 0) & (labels < regions), labels, regions)


def _object_tokens(labels: Array, objects: tuple[int, ...]) -> Array:
    return jnp.isin(labels, jnp.array(objects, jnp.int32))


def _noise(randomness: Randomness, length: int) -> Array:
    return jax.vmap(lambda key: jax.random.uniform(key, (length,), jnp.float32))(
        randomness.each("mask")
    )


def _cover(
    randomness: Randomness, inside: Array, labels: Array, *, regions: int, ratio: float
) -> Mask:
    """Hide the tokens inside, bool[B, N], and an equal share of each other region, i32[B, N]."""
    length = labels.shape[-1]
    _, count = split_counts(length, ratio)
    cover = regions + 1  # The label of the tokens inside.

    def hide(key: Array, inside: Array, labels: Array) -> Array:
        for_ties, for_tokens = jax.random.split(key)
        labels = jnp.where(inside, cover, labels)
        sizes = (labels[None] == jnp.arange(cover + 1)[:, None]).sum(-1)
        first = jnp.minimum(sizes[cover], count)
        ties = jax.random.uniform(for_ties, (cover,), jnp.float32)
        shares = apportion(sizes[:cover], count - first, ties)
        quotas = jnp.append(shares, first)
        # Sorted by label, at random within a label.
        noise = jax.random.uniform(for_tokens, (length,), jnp.float32)
        order = jnp.lexsort((noise, labels))
        ordered = labels[order]
        place = jnp.arange(length) - (jnp.cumsum(sizes) - sizes)[ordered]
        return jnp.zeros((length,), bool).at[order].set(place < quotas[ordered])

    return from_hidden(jax.vmap(hide)(randomness.each("mask"), inside, labels), count=count)


def apportion(sizes: Array, budget: Array, ties: Array) -> Array:
    """Divide a budget in proportion to sizes by the method of largest remainders.

    sizes: i32[R]; budget: i32[] at most their sum; ties: f32[R], of equal remainders the smaller
    one comes first. Returns i32[R], each within one of the exact share, whose sum is the budget.
    Computed in int32, so for up to 46,000 tokens.
    """
    total = jnp.maximum(sizes.sum(), 1)
    shares, remainders = jnp.divmod(sizes * budget, total)
    order = jnp.lexsort((ties, -remainders))
    extra = jnp.arange(len(sizes)) < budget - shares.sum()
    return shares.at[order].add(extra.astype(shares.dtype))
