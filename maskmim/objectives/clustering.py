"""The objective that trains prototypes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import NonNegative, Positive
from maskmim.losses.classification import soft_cross_entropy
from maskmim.quantize.prototypes import prototype_logits
from maskmim.quantize.vector_quantize import code_counts, used_share
from maskmim.types import Mean, Objective, View


def fit_prototypes(*, temperature: Positive = 0.12, scale: NonNegative = 1.0) -> Objective:
    """Train the prototypes towards their assignments, on every token of the whole example.

    Metrics: 'entropy' of an assignment in nats, log K at most; 'used', the share of the clusters
    that some token prefers.
    Source: the loss of OnlineClustering, as `teachers.clusters.prototypes`.
    """

    def find(view: View):
        features, assignments = (view.context.hints[name] for name in ("features", "assignments"))
        logits = prototype_logits(view.extra["clusters"], features)
        loss = soft_cross_entropy(logits, assignments, temperature=temperature)
        entropy = jnp.sum(jax.scipy.special.entr(assignments), axis=-1)
        counts = code_counts(jnp.argmax(assignments, axis=-1), assignments.shape[-1])
        metrics = {
            "entropy": Mean(jnp.sum(entropy), jnp.float32(entropy.size)),
            "used": Mean(used_share(counts), jnp.float32(1.0)),
        }
        return loss, jnp.ones_like(loss), metrics, ()

    return Objective(("features", "assignments"), scale, find, "prototypes fit their assignments")
