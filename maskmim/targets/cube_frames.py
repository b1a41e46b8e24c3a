"""One frame of each cube of a clip as target: MAE-ST's, which predicts every second frame."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import Positive
from maskmim.models.layers.patches import patchify
from maskmim.targets.pixels import EPSILON, patch_statistics
from maskmim.types import Array, View


def chosen_frames(frames: int, steps: int) -> np.ndarray:
    """Return the frame that stands for each time step: int[steps], evenly spread over all frames.

    The first is 0 and the last frames - 1; those between are rounded down. Of 16 frames in 8 steps
    these are 0, 2, 4, ..., 12 and 15: the first of each cube, but the second of the last one.
    """
    return np.linspace(0, frames - 1, steps).astype(np.int64)


def frame_patches(view: View) -> Array:
    """Return the predicted cubes' values in their chosen frames: f32[B, P, V].

    V is rows * columns * channels of a cube, in this order.
    """
    steps, *sides = view.context.grid
    frames = view.inputs[:, chosen_frames(view.inputs.shape[1], steps)].astype(jnp.float32)
    patch = [pixels // tokens for pixels, tokens in zip(frames.shape[2:4], sides, strict=True)]
    return jnp.take_along_axis(patchify(frames, (1, *patch)), view.mask.predict[..., None], axis=1)


def repeat_frames(view: View, prediction: Array) -> Array:
    """Return predicted frames with the true mean and deviation, as all frames of their cubes."""
    mean, deviation = patch_statistics(frame_patches(view))
    values = prediction.astype(jnp.float32) * deviation + mean
    return jnp.tile(values, (1, 1, view.inputs.shape[1] // view.context.grid[0]))


@facts.target(pixels=repeat_frames)
def normalised_frames(view: View, *, epsilon: Positive = EPSILON) -> Array:
    """Return one frame of each predicted cube, with mean 0 and variance 1.

    Returns f32[B, P, V] = (x - mean) / sqrt(variance + epsilon), statistics over the V values of a
    cube in its frame (`chosen_frames`), variance unbiased. Pictures show the predicted frame in
    all frames of its cube.
    Source: MAE-ST (arXiv 2205.09113), forward_loss of models_mae.py, facebookresearch/mae_st, where
    pred_t_dim is the number of time steps.
    """
    values = frame_patches(view)
    mean, deviation = patch_statistics(values, epsilon=epsilon)
    return (values - mean) / deviation
