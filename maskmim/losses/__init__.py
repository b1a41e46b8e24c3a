"""Losses as bricks: (prediction, target) -> f32[B, P], and terms that methods share."""

from maskmim.losses.classification import cross_entropy, soft_cross_entropy
from maskmim.losses.entropy import code_entropy
from maskmim.losses.feature import cosine
from maskmim.losses.regression import absolute_error, squared_error
from maskmim.losses.self_distillation import distillation
from maskmim.losses.sinkhorn_knopp import sinkhorn

__all__ = [
    "absolute_error",
    "code_entropy",
    "cosine",
    "cross_entropy",
    "distillation",
    "sinkhorn",
    "soft_cross_entropy",
    "squared_error",
]
