"""NT-Xent between the streams of an example: groups of them find each other in the batch."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config.ranges import NonNegative, Positive
from maskmim.models.one_stream import token_slice
from maskmim.models.streams import check_streams
from maskmim.objectives.contrastive import cross_entropies
from maskmim.objectives.pairs import called, check_widths
from maskmim.types import Array, Objective, View

Names = tuple[str, ...]


def contrast_streams(
    *,
    one: Names,
    other: Names,
    project: str | None = "projector",
    project_other: str | None = "projector",
    temperature: Positive = 0.1,
    scale: NonNegative = 1.0,
) -> Objective:
    """Find the other streams of an example among those of all examples, by cross-entropy.

    one, other:  names of streams. A side is the mean, over its streams, of what a function makes of
                 the mean of the stream's visible tokens.
    project, project_other: names of these functions under config.calls, None for none.
    temperature: divides the cosines.
    Each side of an example is compared with all 2 B - 1 others of the global batch, equal on any
    mesh, see `objectives.nt_xent`. With micro-batches negatives are those of the micro-batch: the
    loss depends on their number. Gradients pass to both sides.
    `find` raises ModelError for an unknown stream, and ObjectiveError for sides of other widths.
    Metrics: as of `objectives.nt_xent`.
    Source: CrossVideoMAE (arXiv 2502.07811); the mean of two projected views against a picture is
    CrossPoint's (arXiv 2203.00680).
    """

    def side(view: View, streams: Names, name: str | None) -> Array:
        check_streams(streams, view.net.grids, "to be compared")
        each = [called(view, name, mean_visible(view, stream)) for stream in streams]
        return jnp.mean(jnp.stack(each), axis=0)

    def find(view: View):
        sides = side(view, one, project), side(view, other, project_other)
        check_widths("contrast_streams", *sides, None)
        loss, metrics = cross_entropies(*sides, temperature)
        return loss[:, None], jnp.ones((len(loss), 1), jnp.float32), metrics, ()

    calls = tuple(dict.fromkeys(name for name in (project, project_other) if name))
    says = f"NT-Xent of {' and '.join(one)} with {' and '.join(other)} at {temperature:g}"
    return Objective((), scale, find, says, calls=calls)


def mean_visible(view: View, stream: str) -> Array:
    """Return the mean of a stream's visible tokens f32[B, D], 0 where none is visible."""
    here = token_slice(view.net.grids, stream)
    places = view.mask.visible
    belongs = ((places >= here.start) & (places < here.stop)).astype(jnp.float32)
    tokens = view.encoded.tokens.astype(jnp.float32)
    total = jnp.einsum("bk,bkd->bd", belongs, tokens)
    return total / jnp.maximum(jnp.sum(belongs, axis=1, keepdims=True), 1.0)
