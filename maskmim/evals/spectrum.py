"""How many directions the features of each block use: singular values and effective ranks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import PositiveInt
from maskmim.evals.captured import block_features, chosen_blocks
from maskmim.evals.effective_rank import checked, rank_of
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained
from maskmim.reporting.analysis_figures import draw_spectra


@facts.measure(needs=("features",))
def spectrum(
    trained: Trained, *, images: PositiveInt = 2048, blocks: tuple[int, ...] = ()
) -> Iterator[Measured]:
    """Yield the effective rank of the pooled output of each block, and draw its singular values.

    images: at most so many test images, spread evenly, of the training data without (2048: ours).
    blocks: their numbers, from 0, negative ones from the last; () for all.
    Yields ('spectrum/rank/<block>', the effective rank of centred features, see
    `effective_rank.rank_of`) and, with a picture, ('spectrum', that of the last of the blocks).
    Features are centred here and not in `effective_rank`: their mean is often most of the largest
    singular value, and would hide the others in the picture. Both are pooled as `evals.pooling`
    says; these are those before the encoder's last norm.
    Raises Unsuitable where the encoder does not give the outputs of its blocks.
    Source: spectra over the dimensions as in DirectCLR (arXiv 2110.09348), figure 2, there of the
    covariance; ranks as in RankMe (arXiv 2210.02885).
    """
    numbers = chosen_blocks(trained, blocks)
    outputs = block_features(trained, numbers, trained.images.batches(images)).features
    centred = [centre(checked(outputs[:, place])) for place in range(len(numbers))]
    spectra = [np.linalg.svd(rows, compute_uv=False) for rows in centred]
    ranks = [rank_of(rows) for rows in centred]
    most = min(outputs.shape[0] - 1, outputs.shape[2])
    listed = " ".join(f"{rank:.1f}" for rank in ranks)
    text = f"effective rank by block {listed}, of at most {most}"
    picture = draw_spectra(numbers, spectra, {"effective rank": np.asarray(ranks)})
    yield Measured("spectrum", ranks[-1], text, picture=picture)
    for number, rank in zip(numbers, ranks, strict=True):
        yield Measured(f"spectrum/rank/{number}", rank, "")


def centre(features: np.ndarray) -> np.ndarray:
    """Return f64[n, D] with the mean 0 over the images."""
    features = np.asarray(features, np.float64)
    return features - features.mean(axis=0)
