"""Codes and code vectors of a tokenizer as targets, and pictures of codes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.models.layers.patches import gather
from maskmim.reporting.palette import palette
from maskmim.reporting.streams import GREY
from maskmim.types import Array, View


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


def repeat_to_pixels(values: Array, grid: tuple[int, ...], size: tuple[int, ...]) -> Array:
    """Repeat the values of tokens over their pixels: [B, N, C] on a grid -> [B, *size, C].

    size: of the picture, a multiple of the grid on each axis.
    """
    picture = values.reshape(values.shape[0], *grid, values.shape[-1])
    for axis, (tokens, pixels) in enumerate(zip(grid, size, strict=True), start=1):
        picture = jnp.repeat(picture, pixels // tokens, axis=axis)
    return picture
