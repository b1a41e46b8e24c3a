"""Reconstructions of hidden patches as pictures, under masks of the run or masks that are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from maskmim.config.bricks import brick, public_path
from maskmim.evals.reconstruction import outputs_by_stream, paste_predictions
from maskmim.inference.encoding import method_name
from maskmim.inference.given_mask import given
from maskmim.inference.loaded import InferenceError, Loaded, sides
from maskmim.masks.mixtures import partition
from maskmim.methods.masked import masked
from maskmim.models.one_stream import token_slice
from maskmim.models.streams import stream_net
from maskmim.training.build import build_method
from maskmim.types import Array, Method, Randomness, Tree, random_key


class Reconstruction(NamedTuple):
    """Pictures of hidden patches and what the model makes of them, in the order of the images.

    input:          u8[N, *size, C] what the model sees without a mask.
    masked:         u8[N, *size, C] with hidden patches grey.
    reconstruction: u8[N, *size, C] predictions in the hidden patches, the input in the others.
                    Where a model predicts patches that are normalised each by itself, the mean and
                    the deviation of the true patch are put back.
    raw:            u8[N, *size, C] the predictions as the network outputs them, as the MAE demo
                    shows them; the same where nothing is normalised.
    hidden:         bool[N, *grid], True for hidden patches.
    """

    input: np.ndarray
    masked: np.ndarray
    reconstruction: np.ndarray
    raw: np.ndarray
    hidden: np.ndarray


def pictures_by(loaded: Loaded, method: Method, stream: str | None) -> Callable[..., Any]:
    """Return (variables, arrays, randomness) -> pictures, see `evals.reconstruction`.

    Raises InferenceError for a method that predicts no pictures of the stream.
    """
    net, name = loaded.method.net, stream_of(loaded, stream)
    if "reconstruct" not in method.apply or net.restore is None or net.display is None:
        raise InferenceError(
            f"{method_name(loaded)} of this config predicts no pixels of its input "
            f"({_predicts(loaded)}): there is nothing to reconstruct; mask(images) shows what is "
            "hidden"
        )
    if not loaded.decoder:
        raise InferenceError(
            f"{loaded.title} holds an encoder without its decoder: reconstruct needs weights with "
            "the decoder (of MAE: the files of pretraining, named mae_visualize or "
            "ViTMAEForPreTraining)"
        )
    alone = stream_net(net, name)

    def run(variables: Tree, arrays: Mapping[str, Array], randomness: Randomness) -> Any:
        by_stream = outputs_by_stream(
            method.apply["reconstruct"](variables, arrays, randomness), loaded.stream
        )
        if name not in by_stream:
            raise InferenceError(
                f"stream={name!r} is not predicted: there are {', '.join(by_stream)}"
            )
        pictures = paste_predictions(alone, by_stream[name])
        return {**pictures, "hidden": pictures["hidden"].reshape(-1, *net.grids[name])}

    return run


def _predicts(loaded: Loaded) -> str:
    """Return the lines of a method's chain that say what is learnt."""
    lines = [text for label, text in loaded.method.chain if label.startswith(("objective", "loss"))]
    return "; ".join(lines) or "no objective"


def stream_of(loaded: Loaded, stream: str | None) -> str:
    """Return the name of a stream with tokens, the main one for None; raise InferenceError."""
    grids = loaded.method.net.grids
    name = stream or loaded.stream
    if name not in grids:
        raise InferenceError(f"stream={name!r}: the tokens are those of {', '.join(grids)}")
    return name


def hidden_by(loaded: Loaded, stream: str | None) -> Callable[..., Array]:
    """Return (variables, arrays, randomness) -> bool[B, *grid] the hidden tokens of a stream.

    Raises InferenceError for a method without masks.
    """
    if "mask" not in loaded.method.apply:
        raise InferenceError(f"{method_name(loaded)} hides nothing: it has no mask")
    grids, name = loaded.method.net.grids, stream_of(loaded, stream)
    here, grid = token_slice(grids, name), grids[name]

    def run(variables: Tree, arrays: Mapping[str, Array], randomness: Randomness) -> Array:
        hidden = loaded.method.apply["mask"](variables, arrays, randomness)["mask"].hidden
        return hidden[:, here].reshape(-1, *grid)

    return run


def check_hidden(mask: Any, count: int, grid: tuple[int, ...]) -> np.ndarray:
    """Return a given mask as bool[count, N]; raise InferenceError unless it fits.

    mask: bool[count, *grid], or bool[*grid] for all examples; True is hidden. All examples hide
    equally many tokens, at least one and not all.
    """
    array = np.asarray(mask)
    if array.shape == tuple(grid):
        array = np.broadcast_to(array, (count, *grid))
    if array.shape != (count, *grid) or array.dtype != bool:
        raise InferenceError(
            f"the mask is {array.dtype}{list(np.shape(mask))}: give bool{[count, *grid]}, or "
            f"bool{list(grid)} for all images; True is hidden, of {sides(grid)} tokens"
        )
    rows = array.reshape(count, -1)
    numbers = sorted(set(rows.sum(axis=1).tolist()))
    if len(numbers) > 1:
        raise InferenceError(
            f"the masks hide between {numbers[0]} and {numbers[-1]} tokens: hide equally many of "
            "each image, or give the images one by one"
        )
    if not 0 < numbers[0] < math.prod(grid):
        raise InferenceError(
            f"the mask hides {numbers[0]} of {math.prod(grid)} tokens: hide at least one, and "
            "leave at least one"
        )
    return rows


def check_groups(loaded: Loaded, count: int, batch_size: int) -> None:
    """Raise InferenceError unless `count` images, in such batches, make whole groups.

    MixedAE hides patches of several images together, and the padding of a batch would join them.
    """
    group = _group(loaded)
    if count % group:
        raise InferenceError(
            f"this model mixes {group} images at a time: give a multiple of {group} images, not "
            f"{count:,}; encode and features_map take any number"
        )
    if batch_size % group:
        raise InferenceError(
            f"this model mixes {group} images at a time, and {batch_size} are computed together: "
            f"load it with batch_size={group}"
        )


def _group(loaded: Loaded) -> int:
    """Return the number of consecutive images whose masks are drawn together."""
    mask = loaded.config.mask if "mask" in loaded.config else None
    return mask.sources if mask and mask.brick == public_path(partition) else 1


def check_takes_masks(loaded: Loaded) -> None:
    """Raise InferenceError unless a mask can be given.

    That is to `methods.masked` with one stream, whose masks are drawn of each image by itself.
    """
    if (group := _group(loaded)) > 1:
        raise InferenceError(
            f"no mask can be given to this model, which shows each place in one of {group} images: "
            "leave mask out for the masks of the run, with seed"
        )
    several = len(loaded.method.net.grids) > 1
    if loaded.config.method == public_path(masked) and not several:
        return
    has = "several streams" if several else f"the method {method_name(loaded)}"
    raise InferenceError(
        f"a mask can be given to models of one stream and the method masked, this one has {has}: "
        "leave mask out for the masks of the run, with seed"
    )


def with_given_mask(loaded: Loaded, count: int) -> Method:
    """Return the run's method with masks that stand in the batch under GIVEN.

    count: hidden tokens of an example. Whether hidden tokens enter the encoder, and visible ones
    are predicted, is as in the run.
    """
    own = _mask_shapes(loaded)
    length = own.hidden.shape[1]
    config = loaded.config.copy_and_resolve_references()
    with config.unlocked():
        config.mask = brick(
            given,
            count=count,
            in_place=own.visible.shape[1] == length,
            all_predicted=own.predict.shape[1] == length,
        )
    return build_method(config)[1]


def _mask_shapes(loaded: Loaded) -> Any:
    """Return the shapes of the run's own Mask of one example."""
    spec, method = loaded.spec, loaded.method
    blank = {
        name: jax.ShapeDtypeStruct((1, *each.shape), each.dtype)
        for name, each in spec.arrays.items()
    }
    randomness = jax.eval_shape(lambda: Randomness.of(random_key(0), 1))
    frozen = jax.eval_shape(method.freeze)
    variables = loaded.variables._replace(frozen=frozen)
    return jax.eval_shape(method.apply["mask"], variables, blank, randomness)["mask"]
