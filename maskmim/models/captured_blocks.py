"""What single blocks of an encoder put out, from what was captured of all of them."""

from __future__ import annotations

from maskmim.models.layers.blocks import ROWS
from maskmim.models.layers.errors import ModelError
from maskmim.types import Array, Encoded


def block_output(encoded: Encoded, layer: int) -> Encoded:
    """Return the output of one block, before the last norm, as if the encoder ended there.

    encoded: with 'layers' captured, and what else of blocks is wanted.
    layer:   counted from 1.
    Returns an Encoded whose captures end with that block.
    Raises ModelError where nothing was captured or the block does not exist.
    """
    layers = captured_layers(encoded)
    if not 1 <= layer <= len(layers):
        raise ModelError(f"no layer {layer}: the blocks are 1 to {len(layers)}")
    last, prefix = layers[layer - 1], encoded.prefix.shape[1]
    names = ("layers", "attention", *ROWS)
    captured = {name: getattr(encoded, name) for name in names}
    until = {name: None if rows is None else rows[:layer] for name, rows in captured.items()}
    return encoded._replace(prefix=last[:, :prefix], tokens=last[:, prefix:], **until)


def captured_layers(encoded: Encoded) -> Array:
    """Return the outputs of all blocks f32[depth, B, R + K, D]; raise ModelError without them."""
    if encoded.layers is None:
        raise ModelError(
            "the outputs of single blocks are needed, but the method captures none: use a method "
            "that does, such as maskmim.methods.masked.masked, or the encoder's output"
        )
    return encoded.layers


def class_token(prefix: Array) -> Array:
    """Return the class token [B, 1, D] of prefix tokens [B, R, D]; raise ModelError without one."""
    check_class_token(prefix)
    return prefix[:, :1]


def check_class_token(prefix: Array) -> None:
    """Raise ModelError where an encoder has no prefix tokens [B, R, D]."""
    if not prefix.shape[1]:
        raise ModelError("the encoder has no class token: set model.class_token=True")
