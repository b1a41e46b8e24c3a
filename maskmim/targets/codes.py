"""The codes that a tokenizer gives the predicted tokens, as classes; and pictures of codes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.models.layers.patches import gather
from maskmim.reporting.streams import GREY
from maskmim.types import Array, View

# Steps of a sequence that fills the cube of colours evenly: the powers of the inverse of the
# smallest root above 1 of x^4 = x + 1 (M. Roberts, 2018).
STEPS = (0.8191725134, 0.6710436067, 0.5497004779)


def codes(view: View) -> Array:
    """Codes of the predicted tokens: i32[B, P]. Needs the hint 'codes' i32[B, N]."""
    every = view.context.hints["codes"]
    return gather(every[..., None], view.mask.predict)[..., 0]


def shows(view: View, prediction: Array) -> dict[str, Array]:
    """Pictures of codes, a colour for each: where none is known, as predicted, and as they are.

    prediction: f32[B, P, V] logits. Predicted tokens are grey in 'masked codes'; the likeliest code
    is shown in 'predicted codes', where all other tokens show their own.
    """
    every = view.context.hints["codes"]
    colours = palette(every)
    rows = jnp.arange(every.shape[0])[:, None]
    places = view.mask.predict
    grey = colours.at[rows, places].set(GREY)
    likeliest = palette(jnp.argmax(prediction, axis=-1))
    drawn = colours.at[rows, places].set(likeliest)
    columns = {"masked codes": grey, "predicted codes": drawn, "codes": colours}
    grid, size = view.context.grid, view.inputs.shape[1:-1]
    return {name: spread(cells, grid, size) for name, cells in columns.items()}


codes.needs = ("codes",)
codes.shows = shows


def quantised(view: View) -> Array:
    """The code vectors of the predicted tokens, the output 'quantised' of a tokenizer in training.

    Returns f32[B, P, width]; no gradient passes.
    """
    return jax.lax.stop_gradient(view.outputs["quantised"]).astype(jnp.float32)


def palette(found: Array) -> Array:
    """A colour for each code: i32[...] -> u8[..., 3], the same for equal codes."""
    turns = (found[..., None].astype(jnp.float32) * jnp.array(STEPS) + 0.5) % 1.0
    return (32 + 223 * turns).astype(jnp.uint8)


def spread(cells: Array, grid: tuple[int, ...], size: tuple[int, ...]) -> Array:
    """Values of tokens as blocks of a picture: [B, N, C] on a grid -> [B, *size, C].

    size: of the picture, on each axis a multiple of the grid's.
    """
    picture = cells.reshape(cells.shape[0], *grid, cells.shape[-1])
    for axis, (tokens, pixels) in enumerate(zip(grid, size, strict=True), start=1):
        picture = jnp.repeat(picture, pixels // tokens, axis=axis)
    return picture
