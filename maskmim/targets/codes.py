"""Codes and code vectors of a tokenizer as targets, and pictures of codes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.models.layers.patches import gather
from maskmim.reporting.streams import GREY
from maskmim.types import Array, View

# Steps of a sequence that fills the cube of colours evenly: the powers of the inverse of the
# smallest root above 1 of x^4 = x + 1 (M. Roberts, 2018).
STEPS = (0.8191725134, 0.6710436067, 0.5497004779)


def draw_codes(view: View, prediction: Array) -> dict[str, Array]:
    """Draw a colour for each code: with the predicted ones masked, as predicted, and true.

    prediction: f32[B, P, V] logits. Predicted tokens are grey in 'masked codes'; 'predicted codes'
    shows their likeliest code, and the true code of all other tokens.
    """
    all_codes = view.context.hints["codes"]
    colours = palette(all_codes)
    rows = jnp.arange(all_codes.shape[0])[:, None]
    tokens = view.mask.predict
    masked = colours.at[rows, tokens].set(GREY)
    likeliest = palette(jnp.argmax(prediction, axis=-1))
    predicted = colours.at[rows, tokens].set(likeliest)
    columns = {"masked codes": masked, "predicted codes": predicted, "codes": colours}
    grid, size = view.context.grid, view.inputs.shape[1:-1]
    return {name: repeat_to_pixels(values, grid, size) for name, values in columns.items()}


@facts.target(needs=("codes",), shows=draw_codes)
def codes(view: View) -> Array:
    """Return the codes of the predicted tokens: i32[B, P].

    Needs the hint 'codes' i32[B, N].
    """
    all_codes = view.context.hints["codes"]
    return gather(all_codes[..., None], view.mask.predict)[..., 0]


def quantised(view: View) -> Array:
    """Return the code vectors of the predicted tokens of a tokenizer in training.

    Returns f32[B, P, width], the output 'quantised'; no gradient passes.
    """
    return jax.lax.stop_gradient(view.outputs["quantised"]).astype(jnp.float32)


def palette(codes: Array) -> Array:
    """Return a colour for each code: i32[...] -> u8[..., 3], the same for equal codes."""
    turned = [codes.astype(jnp.float32) * step for step in STEPS]
    turns = (jnp.stack(turned, axis=-1) + 0.5) % 1.0
    return (32 + 223 * turns).astype(jnp.uint8)


def repeat_to_pixels(values: Array, grid: tuple[int, ...], size: tuple[int, ...]) -> Array:
    """Repeat the values of tokens over their pixels: [B, N, C] on a grid -> [B, *size, C].

    size: of the picture, a multiple of the grid on each axis.
    """
    picture = values.reshape(values.shape[0], *grid, values.shape[-1])
    for axis, (tokens, pixels) in enumerate(zip(grid, size, strict=True), start=1):
        picture = jnp.repeat(picture, pixels // tokens, axis=axis)
    return picture
