"""Trains prototypes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.losses.classification import soft_cross_entropy
from maskmim.quantize.prototypes import logits
from maskmim.quantize.vector_quantize import code_counts, used
from maskmim.types import Mean, Objective, View


def fit(*, temperature: float = 0.12, scale: float = 1.0) -> Objective:
    """Trains the prototypes towards their assignments, on every token of the whole example.

    Metrics: 'entropy' of an assignment in nats, log K at most; 'used', the share of the clusters
    that some token prefers.
    Source: the loss of OnlineClustering, as `prototypes`.
    """

    def find(view: View):
        hints, own = view.context.hints, view.extra["clusters"]
        wanted = hints["assignments"]
        loss = soft_cross_entropy(logits(own, hints["features"]), wanted, temperature=temperature)
        entropy = jnp.sum(jax.scipy.special.entr(wanted), axis=-1)
        counts = code_counts(jnp.argmax(wanted, axis=-1), wanted.shape[-1])
        metrics = {
            "entropy": Mean(jnp.sum(entropy), jnp.float32(entropy.size)),
            "used": Mean(used(counts), jnp.float32(1.0)),
        }
        return loss, jnp.ones_like(loss), metrics, ()

    return Objective(("features", "assignments"), scale, find, "prototypes fit their assignments")
