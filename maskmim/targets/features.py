"""Features that a teacher computes from the whole example, as targets."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import Positive
from maskmim.models.layers.patches import gather
from maskmim.models.layers.standardise import standardise
from maskmim.targets.pixels import EPSILON, patch_statistics
from maskmim.types import Array, View


@facts.target(needs=("features",))
def features(view: View) -> Array:
    """Return the hint 'features' f32[B, N, D] at the predicted tokens: f32[B, P, D]."""
    return gather(view.context.hints["features"].astype(jnp.float32), view.mask.predict)


@facts.target(needs=("class_feature",))
def class_feature(view: View) -> Array:
    """Return the hint 'class_feature' f32[B, D] as that of one token: f32[B, 1, D]."""
    return view.context.hints["class_feature"].astype(jnp.float32)[:, None]


@facts.target(needs=("seen_features",))
def seen_features(view: View) -> Array:
    """Return the hint 'seen_features' f32[B, K, D], which has visible tokens alone.

    For `objectives.match_visible`, whose tokens these are.
    """
    return view.context.hints["seen_features"].astype(jnp.float32)


@facts.target(needs=("seen_class_feature",))
def seen_class_feature(view: View) -> Array:
    """Return the hint 'seen_class_feature' f32[B, D] as that of one token: f32[B, 1, D]."""
    return view.context.hints["seen_class_feature"].astype(jnp.float32)[:, None]


@facts.target(needs=("features",))
def standardised_features(view: View, *, epsilon: Positive = EPSILON) -> Array:
    """Return the features of the predicted tokens, each token's with mean 0 and variance 1.

    Returns f32[B, P, D] = (x - mean) / sqrt(variance + epsilon) of the hint 'features', statistics
    over the D values of a token, variance unbiased (divided by D - 1).
    Source: dBOT (arXiv 2209.03917), forward_loss of models_mae.py, liuxingbin/dbot.
    """
    return _standardised(features(view), epsilon)


@facts.target(needs=("features",))
def layer_normed_features(view: View, *, epsilon: Positive = 1e-5) -> Array:
    """Return the features of the predicted tokens after a LayerNorm without factors.

    Returns f32[B, P, D] = (x - mean) / sqrt(variance + epsilon) of the hint 'features', statistics
    over the D values of a token, variance biased (divided by D).
    Source: I-JEPA (arXiv 2301.08243), forward_target of src/train.py, facebookresearch/ijepa.
    """
    return standardise(features(view), epsilon)


@facts.target(needs=("features",))
def mean_layer_normed(view: View, *, epsilon: Positive = 1e-5) -> Array:
    """Return the mean over all tokens of what `layer_normed_features` makes: f32[B, 1, D].

    Source: data2vec 2.0 (arXiv 2212.07525), the target of the class token, data2vec2.py of
    facebookresearch/fairseq.
    """
    every = view.context.hints["features"].astype(jnp.float32)
    return jnp.mean(standardise(every, epsilon), axis=1, keepdims=True)


@facts.target(needs=("class_feature",))
def standardised_class(view: View, *, epsilon: Positive = EPSILON) -> Array:
    """Return the hint 'class_feature' f32[B, D] with mean 0 and variance 1: f32[B, 1, D].

    Keyword and source as of `standardised_features`.
    """
    return _standardised(class_feature(view), epsilon)


def _standardised(values: Array, epsilon: float) -> Array:
    mean, deviation = patch_statistics(values, epsilon=epsilon)
    return (values - mean) / deviation
