"""A `Net` out of two Flax modules: an encoder of patches and a predictor."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Fraction, PositiveInt, Sizes
from maskmim.errors import count_of
from maskmim.models.layers import constraints
from maskmim.models.layers.encoder import BaseEncoder
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import describe_heads
from maskmim.models.layers.patches import patchify, unpatchify
from maskmim.models.running_norms import apply_encoder, check_declared, running_norms
from maskmim.models.vit import Encoder, Stack, describe_blocks
from maskmim.types import Array, Batch, Encoded, Mask, Net, Randomness, Spec, Tree, random_key

# Inputs other than pixels are shown from -1.5 (black) to 1.5 (white) in their normalised units.
SPREAD = 3.0


def token_grid(size: tuple[int, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    """Return the patches along each axis: (rows, columns) of a picture, (frames, ...) of a clip.

    Raises ModelError where patches do not fill the size, or have another number of axes.
    """
    if len(size) != len(patch):
        sides = "x".join(map(str, size)), "x".join(map(str, patch))
        raise ModelError(
            f"inputs of size {sides[0]} have {count_of(len(size), 'axis', 'axes')}, patches of "
            f"{sides[1]} have {len(patch)}: give input.size and the patch a number for each axis"
        )
    if any(n % side for n, side in zip(size, patch, strict=True)):
        raise ModelError(
            f"inputs of size {'x'.join(map(str, size))} do not divide into patches of "
            f"{'x'.join(map(str, patch))}: change input.size or the patch"
        )
    return tuple(n // side for n, side in zip(size, patch, strict=True))


def picture_net(
    spec: Spec,
    *,
    patch: Sizes,
    width: PositiveInt,
    encoder: BaseEncoder,
    predictor: nn.Module,
    captures: tuple[str, ...] = (),
    norms: Fraction | None = None,
    says: tuple[tuple[str, str], ...] = (),
) -> Net:
    """Build the network whose params are {'encoder': ..., 'decoder': ...}.

    patch:     size of a token: (height, width) pixels of a picture, (frames, height, width) of a
               clip, (time, mel) of a spectrogram.
    width:     of the encoder's tokens.
    predictor: module (Encoded, Mask) -> {head: f32[B, P, values]}; one that drops paths also takes
               `randomness`, a Randomness for it alone, or None.
    captures:  what the encoder always captures, because the predictor reads it.
    norms:     of an encoder with batch norms the share of their running averages that a step keeps,
               0.9 in torch (whose momentum is 1 minus this); None for an encoder without. Those of
               a predictor use their batch in evaluation too.
    says:      lines for people, see `Net.says`.
    Raises ModelError where patches do not fill the input, and in `inputs` for a batch of another
    shape.
    """
    grid = token_grid(spec.size, patch)
    inputs, display = input_conversions(spec)

    token = jnp.zeros((1, 1), jnp.int32)

    def init_encoder(key: Array) -> tuple[Encoded, Tree]:
        blank = patchify(jnp.zeros((1, *spec.shape)), patch)
        hidden = jnp.zeros((1, math.prod(grid)), bool)
        return encoder.init_with_output(key, blank, token, hidden, captures)

    def init(key: Array) -> Tree:
        first, second = jax.random.split(key)
        encoded, encoder_variables = init_encoder(first)
        check_declared(encoder_variables, norms)
        mask = Mask(token, token, jnp.zeros((1, math.prod(grid)), bool), jnp.ones((1, 1)))
        predictor_variables = predictor.init(second, encoded, mask)
        made = {"encoder": encoder_variables, "decoder": predictor_variables}
        return {name: variables["params"] for name, variables in made.items() if variables}

    def shapes() -> Tree:
        return jax.eval_shape(init_encoder, random_key(0))[1]

    return Net(
        grids={spec.stream: grid},
        width=width,
        init=init,
        inputs=inputs,
        encode=_make_encode(encoder, patch, captures),
        predict=_make_predict(predictor),
        patchify=lambda inputs: patchify(inputs, patch),
        restore=lambda patches: unpatchify(patches, patch, grid),
        display=display,
        says=says,
        norms=None if norms is None else running_norms("encoder", shapes, momentum=norms),
    )


def vit_net(spec: Spec, *, patch: Sizes, encoder: Encoder, decoder: Stack) -> Net:
    """Build a `picture_net` of a ViT and a decoder with the field `heads`, and describe both."""
    decoder_words = f"{describe_blocks(decoder)}, heads: {describe_heads(decoder.heads)} values"
    return picture_net(
        spec,
        patch=patch,
        width=encoder.size.width,
        encoder=encoder,
        predictor=decoder,
        says=(("encoder", describe_blocks(encoder)), ("decoder", decoder_words)),
    )


def array_of(batch: Batch, stream: str) -> Array:
    """Return the array of a stream; raise ModelError, naming what there is, where it is missing."""
    if stream in batch:
        return batch[stream]
    views = "views" in batch
    raise ModelError(
        f"the batch lacks {stream!r} and has {', '.join(sorted(batch)) or 'nothing'}: "
        f"set data.augment (in evaluations evals.transform) to a brick that makes {stream!r}"
        f"{', or use a method of views, maskmim.methods.views.masked_views' if views else ''}"
    )


def input_conversions(spec: Spec) -> tuple[Callable[[Batch], Array], Callable[[Array], Array]]:
    """Return `Net.inputs` and `Net.display`: into normalised units and back."""
    channels = (*[1] * (len(spec.size) + 1), -1)
    mean = jnp.asarray(spec.mean, jnp.float32).reshape(channels)
    std = jnp.asarray(spec.std, jnp.float32).reshape(channels)

    def inputs(batch: Batch) -> Array:
        values = array_of(batch, spec.stream)
        if values.shape[1:] != spec.shape:
            raise ModelError(
                f"{spec.stream} inputs of shape {values.shape[1:]} meet a model for {spec.shape}"
            )
        scale = 255.0 if values.dtype == jnp.uint8 else 1.0
        return (values.astype(jnp.float32) / scale - mean) / std

    def display(inputs: Array) -> Array:
        values = inputs * std + mean if spec.dtype == "uint8" else inputs / SPREAD + 0.5
        return jnp.clip(jnp.round(values * 255), 0, 255).astype(jnp.uint8)

    return inputs, display


def _make_encode(
    encoder: BaseEncoder, patch: tuple[int, ...], captures: tuple[str, ...]
) -> Callable[..., Encoded]:
    """Return `Net.encode` of an encoder of patches that always captures `captures`."""

    def encode(
        params: Tree,
        inputs: Array,
        mask: Mask | None,
        *,
        capture: tuple[str, ...] = (),
        randomness: Randomness | None = None,
    ) -> Encoded:
        mask = jax.tree.map(constraints.constrain_examples, mask)
        visible, hidden = (None, None) if mask is None else (mask.visible, mask.hidden)
        capture = tuple(dict.fromkeys((*captures, *capture)))
        patches = constraints.constrain_examples(patchify(inputs, patch))
        arguments = patches, visible, hidden, capture, randomness
        return apply_encoder(encoder, params, *arguments, part="encoder")

    return encode


def _make_predict(predictor: nn.Module) -> Callable[..., dict[str, Array]]:
    """Return `Net.predict` of a predictor, which gets randomness if it takes any."""
    takes_randomness = "randomness" in inspect.signature(type(predictor).__call__).parameters

    def predict(
        params: Tree, encoded: Encoded, mask: Mask, *, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        variables = {"params": params["decoder"]} if "decoder" in params else {}
        mask = jax.tree.map(constraints.constrain_examples, mask)
        if takes_randomness and randomness is not None:
            apart = randomness.inside("predictor")
            return predictor.apply(variables, encoded, mask, randomness=apart)
        return predictor.apply(variables, encoded, mask)

    return predict
