"""Over-smoothing: how alike the tokens of one image become from block to block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import PositiveInt
from maskmim.evals.captured import capturing, chosen_blocks
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained
from maskmim.reporting.analysis_figures import draw_lines
from maskmim.types import Array, Tree


@facts.measure(needs=("features",))
def smoothing(
    trained: Trained, *, images: PositiveInt = 256, blocks: tuple[int, ...] = ()
) -> Iterator[Measured]:
    """Yield how alike the patch tokens of an image are at each block, and draw it over the depth.

    images: at most so many test images, spread evenly, of the training data without (256: ours).
    blocks: their numbers, from 0, negative ones from the last; () for all.
    Yields ('smoothing', the mean cosine at the last of the blocks) with a picture,
    ('smoothing/cosine/<block>', the mean cosine of all pairs of different tokens of an image; 1
    where they all point one way) and ('smoothing/high_frequency/<block>', the length of the tokens
    without their mean over their length; 0 where they are all equal), means over the images, of
    tokens before the encoder's last norm, without class token and registers. The mean is all that
    the lowest frequency of a Fourier transform over the grid holds.
    Raises Unsuitable where the encoder does not give the outputs of its blocks.
    Source: the over-smoothing of Bamboo (arXiv 2205.10505) and the high-frequency part of a
    transformer's tokens, Wang et al. (arXiv 2203.05962); that both are averaged over images: ours.
    """
    numbers = chosen_blocks(trained, blocks)
    encode = capturing(trained.method, ("layers",))

    def of_blocks(variables: Tree, arrays: Mapping[str, Array]) -> Array:
        encoded = encode(variables, arrays)
        patches = [encoded.layers[block][:, encoded.prefix.shape[1] :] for block in numbers]
        both = [jnp.stack([mean_cosine(x), high_frequency(x)], axis=-1) for x in patches]
        return jnp.stack(both, axis=1)

    rows = trained.rows_by(of_blocks, trained.variables, trained.images.batches(images)).features
    cosines, shares = rows.mean(axis=0, dtype=np.float64).T
    picture = draw_lines(
        numbers,
        {"mean cosine of two tokens": cosines, "share without the mean": shares},
        x="block",
        y="",
        title="Smoothness of the tokens of an image",
    )
    listed = " ".join(f"{value:.2f}" for value in cosines)
    text = f"mean cosine of two tokens by block {listed}"
    yield Measured("smoothing", float(cosines[-1]), text, picture=picture)
    for block, cosine, share in zip(numbers, cosines, shares, strict=True):
        yield Measured(f"smoothing/cosine/{block}", float(cosine), "")
        yield Measured(f"smoothing/high_frequency/{block}", float(share), "")


def mean_cosine(tokens: Array) -> Array:
    """Return the mean cosine of all pairs of different tokens: [B, N, D] -> f32[B]."""
    tokens = tokens.astype(jnp.float32)
    lengths = jnp.linalg.norm(tokens, axis=-1, keepdims=True)
    total = jnp.sum(tokens / jnp.maximum(lengths, 1e-12), axis=1)
    count = tokens.shape[1]
    return (jnp.sum(total**2, axis=-1) - count) / (count * (count - 1))


def high_frequency(tokens: Array) -> Array:
    """Return the length of the tokens without their mean over their length: [B, N, D] -> f32[B]."""
    tokens = tokens.astype(jnp.float32)
    centred = tokens - jnp.mean(tokens, axis=1, keepdims=True)
    whole = jnp.sqrt(jnp.sum(tokens**2, axis=(1, 2)))
    return jnp.sqrt(jnp.sum(centred**2, axis=(1, 2))) / jnp.maximum(whole, 1e-12)
