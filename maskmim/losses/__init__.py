"""Losses as bricks: (prediction, target) -> f32[B, P], and terms that methods share."""

from maskmim.losses.assignments import assignments
from maskmim.losses.classification import (
    binary_cross_entropy,
    cross_entropy,
    smoothed_cross_entropy,
    soft_cross_entropy,
)
from maskmim.losses.entropy import code_entropy
from maskmim.losses.feature import cosine, patch_discrimination, unit_absolute_error
from maskmim.losses.regression import absolute_error, focal_absolute_error, smooth_l1, squared_error
from maskmim.losses.self_distillation import distillation
from maskmim.losses.sinkhorn_knopp import sinkhorn
from maskmim.losses.spectra import focal_frequency

__all__ = [
    "absolute_error",
    "assignments",
    "binary_cross_entropy",
    "code_entropy",
    "cosine",
    "cross_entropy",
    "distillation",
    "focal_absolute_error",
    "focal_frequency",
    "patch_discrimination",
    "sinkhorn",
    "smooth_l1",
    "smoothed_cross_entropy",
    "soft_cross_entropy",
    "squared_error",
    "unit_absolute_error",
]
