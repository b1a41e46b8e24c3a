"""Sums of the losses of several views, and of the objectives that compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from maskmim.methods.masked import MethodError, check_loss_shape, for_objective
from maskmim.types import Losses, Mean, PairObjective, Tree, View

PAIRS = "pairs"  # The part of `Variables.extra` that pair objectives keep.


def sum_pairs(pairs: Mapping[str, PairObjective], views: Sequence[View]) -> Losses:
    """Return the weighted sums of the pair objectives' losses, with metrics and carries by name."""
    terms: dict[str, Mean] = {}
    metrics: dict[str, Mean] = {}
    carry: dict[str, Tree] = {}
    for name, pair in pairs.items():
        own = tuple(for_objective(view, name) for view in views)
        kept = views[0].extra.get(PAIRS, {}).get(name, ())
        loss, weight, measured, carry[name] = pair.find(own, kept)
        check_loss_shape(f"{PAIRS}.{name}", loss, weight)
        if not jnp.size(weight):
            raise MethodError(
                f"{PAIRS}.{name} compares no tokens, as the sampler predicts none, so that nothing "
                "is trained: raise the ratio of the mask"
            )
        terms[name] = Mean(jnp.sum(loss.astype(jnp.float32) * weight), jnp.sum(weight))
        metrics |= {f"{name}/{key}": value for key, value in measured.items()}
    scales = {name: pair.scale for name, pair in pairs.items()}
    return Losses(terms, scales, metrics, carry)


def merge_losses(losses: Sequence[Losses]) -> Losses:
    """Return the losses of several views as one: sums of equal names are added."""
    terms: dict[str, Mean] = {}
    scales: dict[str, float] = {}
    metrics: dict[str, Mean] = {}
    carry: dict[str, Tree] = {}
    for each in losses:
        scales |= each.scales
        for merged, new in ((terms, each.terms), (metrics, each.metrics), (carry, each.carry)):
            for name, value in new.items():
                added = [merged[name]] if name in merged else []
                merged[name] = jax.tree.map(lambda *sums: sum(sums), *added, value)
    return Losses(terms, scales, metrics, carry)
