"""The objective that trains prototypes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import NonNegative, Positive
from maskmim.losses.classification import soft_cross_entropy
from maskmim.models.calls import call_of
from maskmim.quantize.vector_quantize import code_counts, used_share
from maskmim.types import Mean, Objective, View


def fit_prototypes(
    *, call: str = "clusters", temperature: Positive = 0.12, scale: NonNegative = 1.0
) -> Objective:
    """Train the prototypes towards their assignments, on every token of the whole example.

    call: name of the network's function that gives the logits of the prototypes.
    Metrics: 'entropy' of an assignment in nats, log K at most; 'used', the share of the clusters
    that some token prefers.
    Source: the loss of OnlineClustering, as `teachers.clusters.prototypes`.
    """

    def find(view: View):
        features, assignments = (view.context.hints[name] for name in ("features", "assignments"))
        logits = call_of(view.net, call)(view.params, features)
        loss = soft_cross_entropy(logits, assignments, temperature=temperature)
        entropy = jnp.sum(jax.scipy.special.entr(assignments), axis=-1)
        counts = code_counts(jnp.argmax(assignments, axis=-1), assignments.shape[-1])
        metrics = {
            "entropy": Mean(jnp.sum(entropy), jnp.float32(entropy.size)),
            "used": Mean(used_share(counts), jnp.float32(1.0)),
        }
        return loss, jnp.ones_like(loss), metrics, ()

    says = "prototypes fit their assignments"
    return Objective(("features", "assignments"), scale, find, says, calls=(call,))
