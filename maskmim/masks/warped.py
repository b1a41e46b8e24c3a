"""Tube masks that follow motion: a random map of one time step, warped along the flow."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction
from maskmim.masks.core import from_hidden, keep_strongest
from maskmim.masks.slices import named_axes, random_slices, slice_counts
from maskmim.masks.video import AXES, tube_counts
from maskmim.types import Array, Context, Mask, Randomness

TIE_BREAK = 1e-5  # Decides between equal strengths only; that of a centre is 1.


@facts.sampler(needs=("flow",), axes=(3,), counts=tube_counts)
def tube(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide all but tokens that follow the motion of a clip, as many in every step.

    Random places of the middle time step are centres of Gaussians (`nearest_gaussian`); this map is
    warped along the flow into past and future (`warped_maps`), and the strongest tokens of each
    time step are visible. Without motion this equals `video.tube`, token for token.

    ratio: share of hidden tokens of each time step, exact after rounding.
    Reads the hint 'flow' f32[B, T, h, w, 2], tokens (rows, columns) from each time step to the
    next.
    Raises MaskError unless the grid is (time, rows, columns).
    Source: MGMAE (arXiv 2308.10794), section 3; _build_mask_volume of engine_for_mgmae.py and
    MixGaussianInitialMaskingGenerator of dataset/masking_generator.py, MCG-NJU/MGMAE.
    Differences: maps have the resolution of tokens, in the official code that of pixels, summed
    over tubelets. Frames before the middle are warped by the flow from them towards it; a typo in
    the official code uses the opposite one. The backward flow is computed from the forward flow
    (`reverse_flow`), in the official code by a second pass of the flow network. The official code
    shows `int(places * (1 - ratio))` tokens, 19 of 14 x 14 at 0.9, here 20, the number of centres.
    Ties between equally strong tokens, such as copies left behind by motion, are broken at random.
    """
    grid = named_axes(context.grid, AXES)
    steps, rows, columns = grid
    visible, hidden = slice_counts(rows * columns, ratio=ratio, kind="places of a frame")
    flow = context.hints["flow"]
    centres = ~random_slices(randomness.each("mask"), rows * columns, hidden)
    base = nearest_gaussian(centres.reshape(-1, rows, columns))
    maps = warped_maps(base, flow, reverse_flow(flow))
    ties = jax.vmap(lambda key: jax.random.uniform(key, (1, rows, columns), jnp.float32))(
        randomness.each("ties")
    )
    scores = (maps + TIE_BREAK * ties).reshape(-1, rows * columns)
    shown = keep_strongest(scores, visible)
    return from_hidden(~shown.reshape(flow.shape[0], -1), count=steps * hidden)


def nearest_gaussian(centres: Array) -> Array:
    """Return exp(-d^2), d the distance in tokens to the nearest centre: bool -> f32[B, h, w].

    That is the largest of the Gaussians of all centres. Squared distances are minimised along rows,
    then along columns, so that the cost does not grow with the number of centres.
    """
    rows, columns = centres.shape[1:]
    upright = jnp.square(jnp.arange(rows)[:, None] - jnp.arange(rows)[None]).astype(jnp.float32)
    across = jnp.square(jnp.arange(columns)[:, None] - jnp.arange(columns)[None]).astype(
        jnp.float32
    )
    near = jnp.where(centres[:, None], upright[:, :, None], jnp.inf).min(2)
    return jnp.exp(-(near[:, :, None] + across[None, None]).min(-1))


def warped_maps(base: Array, forth: Array, back: Array) -> Array:
    """Warp a map of time step T // 2 step by step to all others: f32[B, h, w] -> [B, T, h, w].

    forth: f32[B, T, h, w, 2] displacement in tokens of each token to the next time step; back: from
    the tokens of the next time step to this one; the last of each is not used. Every map samples
    its neighbour on the side of the base along the flow; zeros are filled from the base.
    """
    middle = forth.shape[1] // 2

    def all_steps(base: Array, forth: Array, back: Array) -> Array:
        def step(neighbour: Array, flow: Array) -> tuple[Array, Array]:
            warped = backward_warp(neighbour, flow)
            warped = jnp.where(warped == 0, base, warped)
            return warped, warped

        _, past = jax.lax.scan(step, base, forth[:middle], reverse=True)
        _, future = jax.lax.scan(step, base, back[middle:-1])
        return jnp.concatenate([past, base[None], future])

    return jax.vmap(all_steps)(base, forth, back)


def backward_warp(field: Array, flow: Array) -> Array:
    """Sample a map where the flow leads: f32[h, w], f32[h, w, 2] -> f32[h, w].

    Bilinear between tokens, zeros outside the grid.
    """
    places = jnp.stack(jnp.indices(field.shape).astype(flow.dtype)) + jnp.moveaxis(flow, -1, 0)
    return map_coordinates(field, places, 1, mode="constant", cval=0.0)


def reverse_flow(flow: Array) -> Array:
    """Return the flow from the next time step back, at its tokens: f32[B, T, h, w, 2].

    Each token is carried to the nearest token of the next time step; where several arrive, the
    fastest counts, since moving things mostly cover what is still. A token where none arrives takes
    minus the flow at its own place.
    """
    rows, columns = flow.shape[2:4]
    length = rows * columns
    tokens = jnp.arange(length)
    places = jnp.stack(jnp.divmod(tokens, columns), -1)

    def reverse(flow: Array) -> Array:
        goals = jnp.round(places.astype(flow.dtype) + flow)
        ends = jnp.array([[rows, columns]], flow.dtype)
        inside = ((goals >= 0) & (goals < ends)).all(-1)
        goals = jnp.where(inside, goals[:, 0] * columns + goals[:, 1], length).astype(jnp.int32)
        speed = (flow**2).sum(-1)
        fastest = jnp.full((length,), -1.0).at[goals].max(speed, mode="drop")
        first = speed >= fastest.at[goals].get(mode="fill", fill_value=jnp.inf)
        source = (
            jnp.full((length,), length).at[jnp.where(first, goals, length)].min(tokens, mode="drop")
        )
        return -flow[jnp.where(source < length, source, tokens)]

    return jax.vmap(jax.vmap(reverse))(flow.reshape(*flow.shape[:2], length, 2)).reshape(flow.shape)
