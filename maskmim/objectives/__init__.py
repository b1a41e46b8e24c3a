"""Objectives as bricks: the terms of a loss, per predicted token."""

from maskmim.objectives.classification import accuracy, classify
from maskmim.objectives.clustering import fit_prototypes
from maskmim.objectives.loss_prediction import absolute, relative
from maskmim.objectives.matching import match

__all__ = ["absolute", "accuracy", "classify", "fit_prototypes", "match", "relative"]
