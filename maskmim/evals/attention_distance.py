"""How far the heads of a Vision Transformer look: the mean distance of what a patch attends to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import PositiveInt
from maskmim.evals.captured import capturing, chosen_blocks
from maskmim.evals.features import Unsuitable
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained
from maskmim.models.attention_maps import attention_map, plain_blocks
from maskmim.reporting.analysis_figures import draw_heads
from maskmim.types import Array, Tree


@facts.measure(needs=("features",))
def attention_distance(trained: Trained, *, images: PositiveInt = 256) -> Iterator[Measured]:
    """Yield the mean attention distance of each head in pixels, and draw it over the depth.

    images: at most so many test images, spread evenly, of the training data without (256: ours).
    The distance of a patch is the mean of those between its centre and the centres of all patches,
    weighted by its attention; a head's is the mean over patches and images.
    Yields ('attention_distance', mean over blocks and heads) with a picture,
    ('attention_distance/<block>', mean over heads) and ('attention_distance/<block>/<head>').
    Raises Unsuitable unless the encoder is a plain ViT on one image of rows and columns.
    Source: ViT (arXiv 2010.11929), figure 7, and Raghu et al. (arXiv 2108.08810), section 3.
    Attention to the class token and to registers is left out, and the rest divided by its sum:
    ours, so that a head that looks at these does not seem to look near.
    """
    distances = patch_distances(trained)
    params, epsilon = plain_blocks(trained.evaluated.params), trained.norm_eps
    if params is None or epsilon is None:
        raise Unsuitable("the attention of all patches is that of plain ViTs, which this is not")
    numbers = chosen_blocks(trained, ())
    encode = capturing(trained.method, ("layers", "embedded"))

    def of_heads(variables: Tree, arrays: Mapping[str, Array]) -> Array:
        encoded = encode(variables, arrays)
        params, prefix = trained.method.evaluated(variables).params, encoded.prefix.shape[1]
        blocks = plain_blocks(params)
        maps = (attention_map(blocks, encoded, number, epsilon) for number in numbers)
        patches = (each[:, :, prefix:, prefix:] for each in maps)
        return jnp.stack([mean_distance(each, distances) for each in patches], axis=1)

    rows = trained.rows_by(of_heads, trained.variables, trained.images.batches(images)).features
    values = rows.mean(axis=0, dtype=np.float64)
    even = float(distances.mean())
    picture = draw_heads(
        numbers, values, even, y="distance (pixels)", title="Mean attention distance of heads"
    )
    means = values.mean(axis=1)
    listed = " ".join(f"{value:.1f}" for value in means)
    text = f"{values.mean():.1f} pixels, by block {listed}; even attention has {even:.1f}"
    yield Measured("attention_distance", float(values.mean()), text, picture=picture)
    for block, mean in zip(numbers, means, strict=True):
        yield Measured(f"attention_distance/{block}", float(mean), "")
    for (block, head), value in np.ndenumerate(values):
        yield Measured(f"attention_distance/{numbers[block]}/{head}", float(value), "")


def patch_distances(trained: Trained) -> np.ndarray:
    """Return the distances in pixels between the centres of patches, f32[N, N].

    Raises Unsuitable unless the tokens are those of one stream with rows and columns.
    """
    grids, size = trained.method.net.grids, trained.spec.size
    grid = next(iter(grids.values()))
    if len(grids) != 1 or len(grid) != 2 or len(size) != 2:
        named = ", ".join(f"{name} {'x'.join(map(str, each))}" for name, each in grids.items())
        raise Unsuitable(f"distances are those in a plane, and the tokens are {named}")
    sides = [side / cells for side, cells in zip(size, grid, strict=True)]
    rows, columns = np.divmod(np.arange(math.prod(grid)), grid[1])
    places = np.stack([rows * sides[0], columns * sides[1]], axis=1)
    return np.linalg.norm(places[:, None] - places, axis=-1).astype(np.float32)


def mean_distance(attention: Array, distances: np.ndarray) -> Array:
    """Return the mean distance of each head: f32[B, heads, N, N], f32[N, N] -> f32[B, heads].

    attention: queries before keys; it need not sum to 1 over the patches.
    """
    total = jnp.sum(attention, axis=-1)
    weighted = jnp.einsum("bhqk,qk->bhq", attention, distances)
    return jnp.mean(weighted / jnp.maximum(total, 1e-12), axis=-1)
