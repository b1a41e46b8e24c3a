"""Objectives that compare the views of an example, for `methods.views`: BYOL's, co-masked tokens.

A source is a brick (view) -> f32[B, D] that pools what the encoder made of a view.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.config.ranges import NonNegative
from maskmim.losses.feature import cosine
from maskmim.models.calls import call_of
from maskmim.models.layers.heads import head_output
from maskmim.objectives.classification import ObjectiveError
from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array, Mean, PairObjective, Tree, View


def mean_tokens(view: View) -> Array:
    """Return the mean of a view's visible tokens, without its prefix: f32[B, D]."""
    return jnp.mean(view.encoded.tokens.astype(jnp.float32), axis=1)


def class_token(view: View) -> Array:
    """Return a view's class token f32[B, D]; raise ObjectiveError where the model has none."""
    if not view.encoded.prefix.shape[1]:
        raise ObjectiveError(
            "the source class_token needs a class token, which the model lacks: set "
            "model.class_token=True, or the source to maskmim.objectives.pairs.mean_tokens"
        )
    return view.encoded.prefix[:, 0].astype(jnp.float32)


def called(view: View, name: str | None, x: Array) -> Array:
    """Return what a function of the network makes of features, or the features for no name."""
    return x if name is None else call_of(view.net, name)(view.params, x).astype(jnp.float32)


def view_pairs(count: int, symmetric: bool) -> list[tuple[int, int]]:
    """Return pairs (view that learns, view that it is compared with): all, or those of view 0.

    Raises ObjectiveError for fewer than two views.
    """
    if count < 2:
        raise ObjectiveError(
            f"an objective of pairs compares views, but the sampler draws {count}: use a sampler "
            "of at least two views, such as maskmim.masks.views.disjoint with views=2"
        )
    pairs = itertools.permutations(range(count), 2)
    return [pair for pair in pairs if symmetric or pair[0] == 0]


def check_widths(key: str, one: Array, other: Array, hint: str | None) -> None:
    """Raise ObjectiveError where features of two views cannot be compared."""
    if one.shape != other.shape:
        source = f"the hint {hint!r}" if hint else "the projector"
        raise ObjectiveError(
            f"{key} compares features of {one.shape[-1]} values with {other.shape[-1]} of "
            f"{source}: set `values` of the bricks under config.calls to the same number"
        )


def spread(features: Array) -> Mean:
    """Return how far the directions of features f32[B, D] differ: near 1 if all ways, 0 if none.

    The deviation over the batch of each value of the unit vectors, times the root of D; a
    collapse shows as 0 (SimSiam, arXiv 2011.10566, figure 2).
    """
    unit = l2_normalise(jax.lax.stop_gradient(features))
    examples, width = unit.shape
    each = jnp.std(unit, axis=0) * jnp.sqrt(jnp.float32(width))
    return Mean(jnp.mean(each) * jnp.float32(examples), jnp.float32(examples))


def cosine_pair(
    *,
    source: Callable[[View], Array] = mean_tokens,
    project: str | None = "projector",
    predict: str | None = "predictor",
    hint: str | None = None,
    symmetric: bool = True,
    scale: NonNegative = 1.0,
) -> PairObjective:
    """Predict another view's features: 2 - 2 cos of the angle between them, from 0 to 4.

    source:    brick, view -> f32[B, D], what a view is to be known by.
    project, predict: names of functions under config.calls, applied one after the other to the
               view that learns; None for neither.
    hint:      what a teacher found in the other view, f32[B, values]; None for the other view's
               own projection. No gradient passes to either.
    symmetric: compare every view with every other; otherwise only view 0 with the others.
    The loss of an example is the mean over these pairs. The metric 'spread' is 0 after a collapse,
    see `spread`. Batch norms in the functions make the loss depend on micro-batches, not on a mesh.
    Source: BYOL (arXiv 2006.07733), SimSiam (arXiv 2011.10566) without a hint; LUT's loss_ftn of
    engines/engine_lut.py, naver-ai/lut.
    """

    def find(views: Sequence[View], extra: Tree):
        projected = [called(view, project, source(view)) for view in views]
        predicted = [called(v, predict, p) for v, p in zip(views, projected, strict=True)]
        targets = projected if hint is None else [view.context.hints[hint] for view in views]
        losses = []
        for one, other in view_pairs(len(views), symmetric):
            target = jax.lax.stop_gradient(targets[other])
            check_widths("cosine_pair", predicted[one], target, hint)
            losses.append(2.0 * cosine(predicted[one], target))
        loss = jnp.mean(jnp.stack(losses), axis=0)
        return loss, jnp.ones_like(loss), {"spread": spread(predicted[0])}, ()

    words = f"2 - 2 cos to {f'the hint {hint}' if hint else 'the projection'} of the other view"
    return PairObjective(
        needs=() if hint is None else (hint,),
        scale=scale,
        find=find,
        says=f"{words}, {title(source)}",
        calls=tuple(name for name in (project, predict) if name),
    )


def agree_hidden(
    *,
    head: str,
    loss: Callable[[Array, Array], Array] = cosine,
    scale: NonNegative = 1.0,
) -> PairObjective:
    """Let two views predict the same at the tokens that are hidden in both.

    head: name of a head of the predictor; views that are compared must be in `predicts`.
    loss: brick, (prediction, prediction of the other view) f32[B, N, V] -> f32[B, N].
    Every view is compared with every later one, at the tokens that both hide and predict; the loss
    is the mean over these tokens. Gradients pass to both views. The metric 'tokens' is their number
    in an example. Where no example of a batch has such a token, as with `views.complementary`, the
    loss and its weight are 0: the metric 'tokens' is 0, and the batch trains the other terms alone.
    Raises ObjectiveError for a view on which no predictor runs or of which no token is predicted.
    """

    def find(views: Sequence[View], extra: Tree):
        view_pairs(len(views), symmetric=True)
        tables = [_on_grid(view, number, head) for number, view in enumerate(views)]
        losses, weights = [], []
        for (one, known), (other, also_known) in itertools.combinations(tables, 2):
            losses.append(loss(one, other))
            weights.append((known & also_known).astype(jnp.float32))
        per_token, weight = jnp.concatenate(losses, axis=1), jnp.concatenate(weights, axis=1)
        pairs = jnp.float32(len(losses) * per_token.shape[0])
        return per_token, weight, {"tokens": Mean(jnp.sum(weight), pairs)}, ()

    says = f"{title(loss)} of {head} at tokens hidden in both views"
    return PairObjective((), scale, find, says)


def _on_grid(view: View, number: int, head: str) -> tuple[Array, Array]:
    """Return predictions at all tokens, f32[B, N, V], and where they count, bool[B, N]."""
    if not view.outputs:
        raise ObjectiveError(
            f"agree_hidden compares predictions, but view {number} has none: add it to predicts"
        )
    outputs, mask = head_output(view.outputs, head), view.mask
    if not mask.predict.shape[1]:
        raise ObjectiveError(
            f"agree_hidden compares hidden tokens, but the sampler hides none of view {number}, so "
            "that nothing is compared: raise the ratio of its mask, or use another objective"
        )
    examples = jnp.arange(outputs.shape[0])[:, None]
    table = jnp.zeros((*mask.hidden.shape, outputs.shape[-1]), outputs.dtype)
    table = table.at[examples, mask.predict].set(outputs)
    known = jnp.zeros(mask.hidden.shape, bool).at[examples, mask.predict].set(True)
    return table, known & mask.hidden
