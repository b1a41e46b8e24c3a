"""Tubes bent by motion: a random map of one time step is warped along the flow to the others."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from maskmim.masks.core import from_hidden, keep_strongest
from maskmim.masks.slices import named_axes, random_slices, slice_counts
from maskmim.masks.video import AXES, tube_counts
from maskmim.types import Array, Context, Mask, Randomness

HAIR = 1e-5  # Decides between equal strengths and no others; that of a centre is 1.


def tube(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Shows tokens that follow the motion of a clip, the same number in every time step.

    Random places of the middle time step are centres of Gaussians (`mixture`); this map is warped
    along the flow into past and future (`warped_maps`), and the strongest tokens of each time step
    are visible. Without motion this is `video.tube`, token for token.

    ratio: share of hidden tokens of each time step, exact after rounding.
    Hint: flow f32[B, T, h, w, 2], tokens (rows, columns) from each time step to the next.
    Raises MaskError unless the grid is (time, rows, columns).
    Source: MGMAE (arXiv 2308.10794), section 3; _build_mask_volume of engine_for_mgmae.py and
    MixGaussianInitialMaskingGenerator of dataset/masking_generator.py, MCG-NJU/MGMAE.
    Differences: maps have the resolution of tokens, there of pixels, summed over tubelets. Frames
    before the middle are warped by the flow that leads from them towards it; a typo in the official
    code uses the opposite one. The flow back in time is found from the flow forth
    (`reversed_flow`), there by a second pass of the flow network. `int(places * (1 - ratio))`
    tokens are visible there, 19 of 14 x 14 at 0.9, here 20, as many as there are centres. Where
    more are equally strong, copies left behind by what moves, chance decides.
    """
    grid = named_axes(context.grid, AXES)
    steps, rows, columns = grid
    visible, hidden = slice_counts(rows * columns, ratio=ratio, kind="places of a frame")
    flow = context.hints["flow"]
    centres = ~random_slices(randomness.each("mask"), rows * columns, hidden)
    base = mixture(centres.reshape(-1, rows, columns))
    maps = warped_maps(base, flow, reversed_flow(flow))
    ties = jax.vmap(lambda key: jax.random.uniform(key, (1, rows, columns)))(
        randomness.each("ties")
    )
    scores = (maps + HAIR * ties).reshape(-1, rows * columns)
    shown = keep_strongest(scores, visible)
    return from_hidden(~shown.reshape(flow.shape[0], -1), count=steps * hidden)


tube.needs = ("flow",)
tube.axes = (3,)
tube.counts = tube_counts


def mixture(centres: Array) -> Array:
    """The largest of the Gaussians exp(-d^2) of all centres, d in tokens: bool -> f32[B, h, w].

    That is the Gaussian of the nearest centre: squared distances are found along rows, then along
    columns, so the cost does not grow with the number of centres.
    """
    rows, columns = centres.shape[1:]
    upright = jnp.square(jnp.arange(rows)[:, None] - jnp.arange(rows)).astype(jnp.float32)
    across = jnp.square(jnp.arange(columns)[:, None] - jnp.arange(columns)).astype(jnp.float32)
    near = jnp.where(centres[:, None], upright[:, :, None], jnp.inf).min(2)
    return jnp.exp(-(near[:, :, None] + across).min(-1))


def warped_maps(base: Array, forth: Array, back: Array) -> Array:
    """A map of time step T // 2, warped step by step to all others: f32[B, h, w] -> [B, T, h, w].

    forth: f32[B, T, h, w, 2] displacement in tokens of each token to the next time step; back: from
    the next time step's tokens to this one's; the last of each is not used. Every map looks up,
    along its own flow towards the base, the map before it; zeros there are filled from the base.
    """
    middle = forth.shape[1] // 2

    def all_steps(base: Array, forth: Array, back: Array) -> Array:
        def step(near: Array, flow: Array) -> tuple[Array, Array]:
            far = backward_warp(near, flow)
            far = jnp.where(far == 0, base, far)
            return far, far

        _, past = jax.lax.scan(step, base, forth[:middle], reverse=True)
        _, future = jax.lax.scan(step, base, back[middle:-1])
        return jnp.concatenate([past, base[None], future])

    return jax.vmap(all_steps)(base, forth, back)


def backward_warp(field: Array, flow: Array) -> Array:
    """What a map holds where the flow leads: f32[h, w], f32[h, w, 2] -> f32[h, w].

    Bilinear between tokens, zeros outside of the grid.
    """
    places = jnp.stack(jnp.indices(field.shape).astype(flow.dtype)) + jnp.moveaxis(flow, -1, 0)
    return map_coordinates(field, places, 1, mode="constant", cval=0.0)


def reversed_flow(flow: Array) -> Array:
    """The flow from the next time step back, f32[B, T, h, w, 2], at the next step's tokens.

    Each token is carried to the nearest token of the next time step; where several arrive, the
    fastest counts, since what moves mostly covers what does not. A token where none arrives takes
    minus the flow at its own place.
    """
    rows, columns = flow.shape[2:4]
    length = rows * columns
    tokens = jnp.arange(length)
    places = jnp.stack(jnp.divmod(tokens, columns), -1)

    def reverse(flow: Array) -> Array:
        goals = jnp.round(places + flow)
        inside = ((goals >= 0) & (goals < jnp.array([rows, columns]))).all(-1)
        goals = jnp.where(inside, goals[:, 0] * columns + goals[:, 1], length).astype(jnp.int32)
        speed = (flow**2).sum(-1)
        fastest = jnp.full((length,), -1.0).at[goals].max(speed, mode="drop")
        first = speed >= fastest.at[goals].get(mode="fill", fill_value=jnp.inf)
        source = (
            jnp.full((length,), length).at[jnp.where(first, goals, length)].min(tokens, mode="drop")
        )
        return -flow[jnp.where(source < length, source, tokens)]

    return jax.vmap(jax.vmap(reverse))(flow.reshape(*flow.shape[:2], length, 2)).reshape(flow.shape)
