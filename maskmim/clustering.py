"""Online clustering of a teacher's tokens: prototypes, their loss, assignments as targets."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from maskmim.looks import GREY
from maskmim.models.patches import gather
from maskmim.quantise import code_counts, unit, used
from maskmim.sinkhorn import sinkhorn
from maskmim.targets.codes import palette, spread
from maskmim.token_losses import soft_cross_entropy
from maskmim.types import Array, Context, Mask, Mean, Net, Objective, Teacher, Tree, View


def prototypes(*, clusters: int = 16384, temperature: float = 0.06, iterations: int = 3) -> Teacher:
    """A linear layer on tokens of length 1, balanced by Sinkhorn: teacher brick, asked last.

    clusters: K prototypes, from N(0, 1), with biases. temperature: of the assignments. iterations:
    of `sinkhorn`. Reads the hint 'features' f32[B, N, D]; gives 'assignments' f32[B, N, K].
    Clusters are balanced over the examples at each position by itself, so that a position tells
    nothing of the cluster. A batch of B examples balances over B: with train.micro_batches each
    part is balanced by itself, which is another, coarser balance, not the same step in less memory.
    Source: OnlineClustering of model.py, facebookresearch/capi, with positionwise_sk.
    Difference: assignments are float32, there in the dtype of the computation.
    """

    def init(key: Array, net: Net, params: Tree) -> Tree:
        kernel = jax.random.normal(key, (net.width, clusters))
        return {"kernel": kernel, "bias": jnp.zeros(clusters)}

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        scores = logits(extra, context.hints["features"]) / temperature
        return {"assignments": sinkhorn(scores, iterations=iterations)}

    def refresh(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
        return extra

    return Teacher(("assignments",), False, init, find, refresh)


def logits(prototypes: Mapping[str, Array], features: Array) -> Array:
    """Products of tokens of length 1 with the prototypes: [..., D] -> f32[..., K]."""
    tokens = unit(features.astype(jnp.float32), epsilon=1e-7).astype(features.dtype)
    kernel = prototypes["kernel"].astype(features.dtype)
    found = jnp.einsum("...d,dk->...k", tokens, kernel, preferred_element_type=jnp.float32)
    return found + prototypes["bias"]


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


def assigned(view: View) -> Array:
    """Target brick: the assignments of the predicted tokens, f32[B, P, K]."""
    return gather(view.context.hints["assignments"], view.mask.predict)


def shows(view: View, prediction: Array) -> dict[str, Array]:
    """A colour for each cluster: the teacher's of every token, the student's of predicted ones.

    The teacher's are the nearest prototypes: a balance over the few examples of a picture would
    spread each of them over more clusters than a batch does.
    """
    grid, size = view.context.grid, view.inputs.shape[1:-1]
    found = logits(view.extra["clusters"], view.context.hints["features"])
    own = palette(jnp.argmax(found, axis=-1))
    likeliest = palette(jnp.argmax(prediction, axis=-1))
    rows = jnp.arange(own.shape[0])[:, None]
    drawn = jnp.full_like(own, GREY).at[rows, view.mask.predict].set(likeliest)
    picture = view.net.display(view.inputs)
    hidden = spread(view.mask.hidden[..., None], grid, size)
    return {
        "image": picture,
        "image seen by the student": jnp.where(hidden, jnp.uint8(GREY), picture),
        "predicted clusters": spread(drawn, grid, size),
        "teacher's clusters": spread(own, grid, size),
    }


assigned.needs = ("assignments",)
assigned.shows = shows
