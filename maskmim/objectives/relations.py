"""The objective that compares how tokens relate to each other with how they do in a teacher."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from maskmim.config.ranges import NonNegative, NonNegativeInt
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.visible import on_visible
from maskmim.types import Array, Objective, View

# The arrays of a block that a relation multiplies: the rows of one with those of the other.
PAIRS = {"queries_keys": ("queries", "keys"), "values": ("values", "values")}


def match_relations(
    *,
    of: Literal["queries_keys", "values"] = "queries_keys",
    back: NonNegativeInt = 0,
    scale: NonNegative = 1.0,
) -> Objective:
    """Compare relations of the encoder's visible tokens in its last blocks with a teacher's.

    of:    what is related: 'queries_keys', as attention does, or 'values'.
    back:  how many last blocks of the encoder are passed over.
    scale: factor in the sum of objectives.
    A relation is the softmax of the products of a token's row with those of all visible tokens,
    divided by the root of their length, in each head; prefix tokens have no part. The loss of a
    token is the Kullback-Leibler divergence of the encoder's relation from the teacher's, the mean
    over heads and blocks. The hints of `teachers.frozen.relations` are read at the tokens that the
    encoder is left with, and their relations normalised among these. The blocks are as many of
    the encoder, before those that are passed over, as there are of the teacher, in this order.
    Raises ModelError where the teacher has another number of heads, or more blocks than the encoder
    has captured.
    Source: MiniLM (arXiv 2002.10957), relations of queries and keys and of values; Hybrid Distill
    (arXiv 2306.15876), which takes both from a MAE teacher.
    """
    left, right = PAIRS[of]

    def find(view: View):
        mask = on_visible(view).mask
        names = dict.fromkeys((left, right))
        ours = {name: last_rows(view, name, back) for name in names}
        hints = {name: view.context.hints[f"teacher_{name}"] for name in names}
        theirs = {name: rows_at(rows, mask.predict) for name, rows in hints.items()}
        _check(ours[left], theirs[left])
        own = relation(ours[left], ours[right])
        other = relation(theirs[left], theirs[right])
        per_row = jnp.sum(jnp.exp(other) * (other - own), axis=-1)
        return jnp.mean(per_row, axis=(0, 2)), mask.weight, {}, ()

    return Objective(
        needs=tuple(f"teacher_{name}" for name in dict.fromkeys((left, right))),
        scale=scale,
        find=find,
        says=f"relations of {of.replace('_', ' and ')}, Kullback-Leibler divergence",
        captures=tuple(dict.fromkeys((left, right))),
    )


def last_rows(view: View, name: str, back: int) -> Array:
    """Return what the last blocks captured, as many as the teacher has, of visible tokens.

    f32[L, B, heads, K, size].
    """
    captured = getattr(view.encoded, name)
    count = len(view.context.hints[f"teacher_{name}"])
    if captured is None or len(captured) < count + back:
        has = "none" if captured is None else len(captured)
        raise ModelError(
            f"the teacher gives {name} of {count} blocks, and back={back}, but the method captures "
            f"{has} of the encoder: use maskmim.methods.masked.masked, or ask for fewer"
        )
    chosen = captured[len(captured) - count - back : len(captured) - back]
    return chosen[:, :, :, view.encoded.prefix.shape[1] :].astype(jnp.float32)


def rows_at(rows: Array, places: Array) -> Array:
    """Select tokens i32[B, K] of rows [L, B, heads, N, size]: [L, B, heads, K, size]."""
    return jnp.take_along_axis(rows, places[None, :, None, :, None], axis=3)


def relation(left: Array, right: Array) -> Array:
    """Return the logarithm of relations f32[L, B, heads, K, K] of rows [L, B, heads, K, size]."""
    exact = jax.lax.Precision.HIGHEST
    products = jnp.einsum("lbhqd,lbhkd->lbhqk", left, right, precision=exact)
    return jax.nn.log_softmax(products / jnp.sqrt(jnp.float32(left.shape[-1])), axis=-1)


def _check(ours: Array, theirs: Array) -> None:
    """Raise ModelError where student and teacher have other numbers of heads."""
    if ours.shape[2] != theirs.shape[2]:
        raise ModelError(
            f"the encoder has {ours.shape[2]} heads, the teacher {theirs.shape[2]}: relations are "
            "compared head by head, so give both the same number"
        )
