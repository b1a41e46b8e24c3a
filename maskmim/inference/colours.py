"""Colours for features of patches: similar features have similar colours."""

from __future__ import annotations

import numpy as np

from maskmim.inference.loaded import InferenceError

# Colours run between these percentiles of each component; the rest is clipped.
RANGE = (1.0, 99.0)


def pca_colours(features_map: np.ndarray) -> np.ndarray:
    """Return the first three principal components of patch features as colours.

    features_map: [N, *grid, D], as `Model.features_map` returns it. Components are those of all
                  patches together, so that equal colours mean similar features across images.
    Returns f32[N, *grid, 3] in [0, 1]: red, green and blue are components one, two and three, each
    with the sign that makes its largest weight positive.
    Raises InferenceError for fewer than three features, for features that are not finite.
    Source: DINOv2 (arXiv 2304.07193), figure 1. Difference: the background is not removed.
    """
    rows = np.asarray(features_map, np.float64)
    width = rows.shape[-1] if rows.ndim else 0
    if rows.ndim < 3 or width < 3 or not rows.size:
        raise InferenceError(
            f"features of shape {list(rows.shape)} have no three colours: give [N, *grid, D] with "
            "D of 3 or more, such as model.features_map(images)"
        )
    if not np.isfinite(rows).all():
        raise InferenceError("the features are not finite: the model or the images hold NaN")
    rows = rows.reshape(-1, width)
    rows = rows - rows.mean(0)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    chosen = vectors[:, :-4:-1]
    signs = np.sign(np.take_along_axis(chosen, np.abs(chosen).argmax(0)[None], 0))
    components = rows @ (chosen * signs)
    low, high = np.percentile(components, RANGE, axis=0)
    levels = (components - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
    return levels.clip(0, 1).reshape(*np.shape(features_map)[:-1], 3).astype(np.float32)
