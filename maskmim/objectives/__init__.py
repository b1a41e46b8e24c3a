"""Objectives as bricks: the terms of a loss, per predicted token."""

from maskmim.objectives.aligned_layers import align_layers
from maskmim.objectives.band_groups import band_groups
from maskmim.objectives.class_maps import classify_field, classify_map
from maskmim.objectives.classification import accuracy, classify
from maskmim.objectives.clustering import fit_prototypes
from maskmim.objectives.contrastive import info_nce, nt_xent
from maskmim.objectives.covered import match_covered
from maskmim.objectives.frequency import batch_frequency
from maskmim.objectives.homologous import same_source
from maskmim.objectives.in_stream import in_stream
from maskmim.objectives.instances import match_projection, represented
from maskmim.objectives.labels import label
from maskmim.objectives.loss_prediction import absolute, relative
from maskmim.objectives.matching import match, match_class, match_with_class
from maskmim.objectives.mean_cosine import mean_cosine
from maskmim.objectives.morphing import morph
from maskmim.objectives.one_view import of_view
from maskmim.objectives.pairs import agree_hidden, cosine_pair
from maskmim.objectives.region_maps import regions
from maskmim.objectives.relations import match_relations
from maskmim.objectives.removed import removed
from maskmim.objectives.singularity import singularity
from maskmim.objectives.soft_labels import binary_labels, soft_label
from maskmim.objectives.stream_contrast import contrast_streams
from maskmim.objectives.texts import match_texts
from maskmim.objectives.visible import match_visible, match_visible_head

__all__ = [
    "absolute",
    "accuracy",
    "agree_hidden",
    "align_layers",
    "band_groups",
    "batch_frequency",
    "binary_labels",
    "classify",
    "classify_field",
    "classify_map",
    "contrast_streams",
    "cosine_pair",
    "fit_prototypes",
    "in_stream",
    "info_nce",
    "label",
    "match",
    "match_class",
    "match_covered",
    "match_projection",
    "match_relations",
    "match_texts",
    "match_visible",
    "match_visible_head",
    "match_with_class",
    "mean_cosine",
    "morph",
    "nt_xent",
    "of_view",
    "regions",
    "relative",
    "removed",
    "represented",
    "same_source",
    "singularity",
    "soft_label",
]
