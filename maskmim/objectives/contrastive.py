"""InfoNCE and NT-Xent: the views of an example find each other among those of other examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.config.ranges import NonNegative, NonNegativeInt, Positive, PositiveInt
from maskmim.models.calls import call_of
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.classification import ObjectiveError
from maskmim.objectives.pairs import called, check_widths, mean_tokens, spread, view_pairs
from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array, Mean, Net, PairObjective, Randomness, Tree, View


def info_nce(
    *,
    source: Callable[[View], Array] = mean_tokens,
    project: str | None = "projector",
    predict: str | None = None,
    hint: str | None = None,
    temperature: Positive = 0.1,
    symmetric: bool = True,
    queue: NonNegativeInt = 0,
    values: PositiveInt | None = None,
    scale: NonNegative = 1.0,
) -> PairObjective:
    """Find the other view of an example among the other views of all examples, by cross-entropy.

    source, project, predict, hint: as of `pairs.cosine_pair`; the query goes through both
                 functions, the key is the hint or the other view's projection. Gradients pass to
                 keys that are no hints.
    temperature: divides the cosines.
    symmetric:   every view is the query for every other; otherwise only view 0 is a query.
    queue:       earlier keys that are further negatives, 0 for none. The queue starts as random
                 unit vectors; a step puts its keys at the end, without gradients, and takes as
                 many of the oldest away. Of more keys than the queue holds the first ones enter,
                 in the order of the examples.
    values:      of a key in the queue; None for those that the functions make of the encoder's
                 width. A source of another width needs it.
    Negatives are the keys of all other examples of the global batch, equal on any mesh, and the
    queue. With micro-batches they are those of the micro-batch: the loss depends on their number.
    Raises ObjectiveError for a queue of keys of another width, and where its width is unknown.
    Metrics: 'accuracy', the share of queries whose own key is the nearest, and `pairs.spread`.
    Source: arXiv 1807.03748; SimCLR (arXiv 2002.05709), MoCo (arXiv 1911.05722). Differences: for
    SimCLR the same view of other examples is a negative too; MoCo has the queue's alone.
    """

    def find(views: Sequence[View], extra: Tree):
        projected = [called(view, project, source(view)) for view in views]
        queries = [called(v, predict, p) for v, p in zip(views, projected, strict=True)]
        keys = projected if hint is None else [view.context.hints[hint] for view in views]
        pairs = view_pairs(len(views), symmetric)
        negatives = extra["keys"] if queue else None
        losses, right = [], []
        for one, other in pairs:
            check_widths("info_nce", queries[one], keys[other], hint)
            _check_queue(negatives, keys[other])
            loss, hit = contrast(queries[one], keys[other], negatives, temperature)
            losses.append(loss)
            right.append(hit)
        loss = jnp.mean(jnp.stack(losses), axis=0)
        hits = jnp.sum(jnp.stack(right).astype(jnp.float32))
        metrics = {
            "accuracy": Mean(hits, jnp.float32(len(pairs) * len(loss))),
            "spread": spread(queries[0]),
        }
        used = [keys[view] for view in sorted({other for _, other in pairs})]
        carry = keys_to_queue(used, views[0].randomness, queue) if queue else ()
        return loss, jnp.ones_like(loss), metrics, carry

    def init(key: Array, net: Net, params: Tree) -> Tree:
        width = values or key_width(net, params, (project, predict))
        return {"keys": l2_normalise(jax.random.normal(key, (queue, width), jnp.float32))}

    negatives = f", a queue of {queue:,}" if queue else ""
    objective = PairObjective(
        needs=() if hint is None else (hint,),
        scale=scale,
        find=find,
        says=f"InfoNCE at temperature {temperature:g}, {title(source)}{negatives}",
        calls=tuple(name for name in (project, predict) if name),
    )
    return objective._replace(init=init, refresh=queue_of_keys) if queue else objective


def nt_xent(
    *,
    source: Callable[[View], Array] = mean_tokens,
    project: str | None = "projector",
    temperature: Positive = 0.1,
    scale: NonNegative = 1.0,
) -> PairObjective:
    """Find the other view of an example among both views of all examples, by cross-entropy.

    source, project: as of `pairs.cosine_pair`. temperature: divides the cosines.
    Each of the two views is compared with all 2 B - 1 others of the global batch, equal on any
    mesh: beside `info_nce` the same view of other examples is a negative too. The loss of an
    example is the mean over its views. With micro-batches negatives are those of the micro-batch:
    the loss depends on their number.
    Raises ObjectiveError for other than two views.
    Metrics: 'accuracy', the share of views whose other one is the nearest, 'alignment', the mean
    cosine of an example's views, and `pairs.spread`.
    Source: SimCLR (arXiv 2002.05709); info_nce_loss of models_vicmae.py,
    jeffhernandez1995/ViC-MAE. Difference: there, on several GPUs, views at the same place of other
    GPUs' batches count as positives, too, as places are counted from 0 on each.
    """

    def find(views: Sequence[View], extra: Tree):
        if len(views) != 2:
            raise ObjectiveError(
                f"nt_xent compares two views, but the sampler draws {len(views)}: draw two, or use "
                "maskmim.objectives.info_nce, which takes any number"
            )
        keys = [called(view, project, source(view)) for view in views]
        check_widths("nt_xent", *keys, None)
        loss, metrics = cross_entropies(*keys, temperature)
        return loss, jnp.ones_like(loss), metrics, ()

    says = f"NT-Xent at temperature {temperature:g}, {title(source)}"
    return PairObjective((), scale, find, says, calls=(project,) if project else ())


def cross_entropies(one: Array, other: Array, temperature: float) -> tuple[Array, dict[str, Mean]]:
    """Return NT-Xent f32[B] of features f32[B, V] of two kinds, and the metrics of `nt_xent`."""
    units = l2_normalise(jnp.concatenate([one, other]))
    cosines = jnp.matmul(units, units.T, precision=jax.lax.Precision.HIGHEST)
    examples = len(one)
    own = jnp.arange(2 * examples)
    partner = (own + examples) % (2 * examples)
    logits = jnp.where(own[:, None] == own[None], -jnp.inf, cosines / jnp.float32(temperature))
    losses = jax.nn.logsumexp(logits, axis=-1) - logits[own, partner]
    loss = jnp.mean(losses.reshape(2, examples), axis=0)
    hits = jnp.argmax(logits, axis=-1) == partner
    metrics = {
        "accuracy": Mean(jnp.sum(hits.astype(jnp.float32)), jnp.float32(2 * examples)),
        "alignment": Mean(jnp.sum(cosines[own, partner]), jnp.float32(2 * examples)),
        "spread": spread(one),
    }
    return loss, metrics


def contrast(
    queries: Array, keys: Array, queue: Array | None, temperature: float
) -> tuple[Array, Array]:
    """Compare queries f32[B, D] with keys f32[B, D] and a queue f32[Q, D] of further negatives.

    Returns the cross-entropy f32[B] of finding one's own key, and whether it is the nearest.
    """
    queries, keys = l2_normalise(queries), l2_normalise(keys)
    negatives = keys if queue is None else jnp.concatenate([keys, queue])
    exact = jax.lax.Precision.HIGHEST
    logits = jnp.matmul(queries, negatives.T, precision=exact) / jnp.float32(temperature)
    own = jnp.arange(len(queries))
    loss = jax.nn.logsumexp(logits, axis=-1) - logits[own, own]
    return loss, jnp.argmax(logits, axis=-1) == own


def keys_to_queue(keys: Sequence[Array], randomness: Randomness, queue: int) -> Tree:
    """Return this batch's keys where they enter the queue, as sums that add over micro-batches.

    keys: f32[B, D] of each view. Returns {'keys': f32[queue, D], 'count': i32[]}: rows in the
    order of the examples' slots in the global batch, then of the views; zeros where none enters.
    """
    slots = randomness.slots.astype(jnp.int32)[:, None] * jnp.int32(len(keys))
    places = (slots + jnp.arange(len(keys), dtype=jnp.int32)[None]).reshape(-1)
    units = l2_normalise(jax.lax.stop_gradient(jnp.stack(keys, axis=1)))
    rows = jnp.zeros((queue, units.shape[-1]), jnp.float32)
    rows = rows.at[places].add(units.reshape(len(places), -1), mode="drop")
    return {"keys": rows, "count": jnp.sum(places < queue, dtype=jnp.int32)}


def queue_of_keys(extra: Tree, carry: Tree) -> Tree:
    """Return the queue after a step: `count` of the oldest keys leave, as many enter at the end."""
    both = jnp.concatenate([extra["keys"], carry["keys"]])
    kept = jax.lax.dynamic_slice_in_dim(both, carry["count"], len(extra["keys"]))
    return {"keys": kept}


def key_width(net: Net, params: Tree, names: Sequence[str | None]) -> int:
    """Return the values of a key, which are those of a query: what functions make of a feature.

    names: of the functions, one after the other, None for none; the feature has the encoder's
    width. Raises ObjectiveError for a function that takes no feature of this width.
    """
    pooled = jax.ShapeDtypeStruct((2, net.width), jnp.float32)
    for name in filter(None, names):
        try:
            pooled = jax.eval_shape(call_of(net, name), params, pooled)
        except ModelError as error:
            raise ObjectiveError(
                f"the queue of info_nce cannot tell its width from the encoder's {net.width}, "
                f"{error}; where the source hands over other values, set `values` of info_nce to "
                "those of its keys"
            ) from error
    return pooled.shape[-1]


def _check_queue(queue: Array | None, keys: Array) -> None:
    """Raise ObjectiveError where a queue, if there is one, holds keys of another width."""
    if queue is not None and queue.shape[-1] != keys.shape[-1]:
        raise ObjectiveError(
            f"the queue of info_nce has keys of {queue.shape[-1]} values, but a key has "
            f"{keys.shape[-1]}: set `values` of info_nce to {keys.shape[-1]}"
        )
