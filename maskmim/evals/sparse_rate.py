"""What CRATE's blocks are built to lower: the coding rate of the tokens and their l0 norm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import Positive, PositiveInt
from maskmim.evals.captured import capturing
from maskmim.evals.features import Unsuitable
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained
from maskmim.models.crate import subspace_coordinates
from maskmim.reporting.analysis_figures import draw_lines
from maskmim.tree_paths import named_leaves
from maskmim.types import Array, Tree

# Below this length a row counts as this long, so that a row of zeros stays one.
SHORTEST = 1e-12
SUBSPACES = "encoder/blocks/attention/subspaces/kernel"


@facts.measure(needs=("features",))
def sparse_rate(
    trained: Trained, *, images: PositiveInt = 256, precision: Positive = 0.01
) -> Iterator[Measured]:
    """Yield the coding rate and the share of non-zero values of the tokens of each CRATE block.

    images:    at most so many test images, spread evenly, of the training data without (256: ours).
    precision: epsilon of the coding rate, see `coding_rate`.
    Yields ('sparse_rate/rate/<block>', the rate of what enters the block, summed over its
    subspaces), ('sparse_rate/nonzero/<block>', the share of non-zero values in its output) and,
    with a picture, ('sparse_rate', the share of the last block). All tokens are visible.
    Raises Unsuitable for a network whose blocks have no subspaces.
    Source: vis_utils/crate_hook.py and vis_utils/coding_rate.py, Ma-Lab-Berkeley/CRATE.
    """
    if SUBSPACES not in dict(named_leaves(trained.evaluated.params)):
        raise Unsuitable("it measures the subspaces of CRATE's blocks, and this network has none")
    encode = capturing(trained.method, ("embedded", "layers"))

    def run(variables: Tree, arrays: Mapping[str, Array]) -> Array:
        encoded = encode(variables, arrays)
        params = trained._replace(variables=variables).evaluated.params
        rates = coding_rate(subspace_coordinates(params, encoded), precision)
        nonzero = jnp.mean(encoded.layers != 0, axis=(2, 3))
        return jnp.stack([rates, nonzero], axis=-1).swapaxes(0, 1)

    rows = trained.rows_by(run, trained.variables, trained.images.batches(images)).features
    rates, nonzero = np.asarray(rows, np.float64).mean(axis=0).T
    listed, shares = (" ".join(f"{value:.0f}" for value in line) for line in (rates, 100 * nonzero))
    text = f"coding rate by block {listed}; non-zero values {shares} %"
    lines = {"coding rate, % of the first": 100 * rates / rates[0], "non-zero (%)": 100 * nonzero}
    title = "Compression and sparsity over the depth"
    picture = draw_lines(range(len(rates)), lines, x="block", y="%", title=title)
    yield Measured("sparse_rate", nonzero[-1], text, picture=picture)
    for number, (rate, share) in enumerate(zip(rates, nonzero, strict=True)):
        yield Measured(f"sparse_rate/rate/{number}", rate, "")
        yield Measured(f"sparse_rate/nonzero/{number}", share, "")


def coding_rate(coordinates: Array, precision: float = 0.01) -> Array:
    """Return the coding rate of tokens in subspaces, in nats: f32[..., heads, n, d] -> f32[...].

    It is half the sum over subspaces of log det(I + d / (n precision) W W'), where W f[n, d] are
    the tokens in a subspace, scaled to length 1.
    Source: CodingRate of vis_utils/coding_rate.py, Ma-Lab-Berkeley/CRATE, whose `eps` is
    `precision`; the paper (arXiv 2306.01129), equation 3, has its square.
    Difference: the determinant is that of the smaller of W W' and W' W, which are equal.
    """
    lengths = jnp.linalg.norm(coordinates, axis=-1, keepdims=True)
    w = coordinates / jnp.maximum(lengths, SHORTEST)
    tokens, width = w.shape[-2:]
    equation = "...nd,...ne->...de" if width < tokens else "...nd,...md->...nm"
    gram = jnp.einsum(equation, w, w) * (width / (tokens * precision))
    _, logarithm = jnp.linalg.slogdet(jnp.eye(min(tokens, width)) + gram)
    return jnp.sum(logarithm, axis=-1) / 2
