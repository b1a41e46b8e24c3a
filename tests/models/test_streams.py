"""The same network on clips and spectrograms: what enters, what is predicted, what is shown."""

import jax
import numpy as np
import pytest

from maskmim.masks.uniform import random
from maskmim.models.masked_vit import vit_mae
from maskmim.models.vit import ModelError
from maskmim.types import Context, Randomness, Spec

pytestmark = pytest.mark.full

SIZES = {
    "variant": "2x24x2",
    "decoder_depth": 1,
    "decoder_width": 24,
    "decoder_heads": 2,
}
CLIP = Spec((4, 16, 16), 3, (0.4,) * 3, (0.2,) * 3, "video")
SOUND = Spec((32, 16), 1, (0.0,), (1.0,), "audio", "float32")


def example(spec, count=2):
    rng = np.random.default_rng(0)
    if spec.dtype == "uint8":
        return {spec.stream: rng.integers(0, 256, (count, *spec.shape), np.uint8)}
    return {spec.stream: rng.standard_normal((count, *spec.shape)).astype(np.float32)}


@pytest.mark.parametrize(
    ("spec", "patch", "grid"), [(CLIP, (2, 8, 8), (2, 2, 2)), (SOUND, (8, 8), (4, 2))]
)
def test_prediction_of_hidden_patches(spec, patch, grid):
    net = vit_mae(spec, patch=patch, positions="sincos", **SIZES)
    assert net.grids == {spec.stream: grid}
    params, batch = net.init(jax.random.key(0)), example(spec)
    mask = random(Randomness.of(jax.random.key(1), 2), Context(batch, net.grids, {}), ratio=0.75)
    inputs = net.inputs(batch)
    np.testing.assert_array_equal(net.restore(net.patchify(inputs)), inputs)
    found = net.predict(params, net.encode(params, inputs, mask), mask)["pixels"]
    assert found.shape == (2, 6, np.prod(patch) * spec.channels)

    hidden = np.asarray(mask.hidden)[..., None]
    patches = net.patchify(inputs)
    other = net.restore(np.where(hidden, patches + 1, patches))
    same = net.predict(params, net.encode(params, other, mask), mask)["pixels"]
    np.testing.assert_array_equal(same, found)  # what is hidden plays no part
    other = net.restore(np.where(hidden, patches, patches + 1))
    assert (
        np.abs(net.predict(params, net.encode(params, other, mask), mask)["pixels"] - found).max()
        > 0
    )


def test_clips_are_shown_as_they_were_and_sounds_by_their_units():
    clips = example(CLIP)
    net = vit_mae(CLIP, patch=(2, 8, 8), **SIZES)
    np.testing.assert_array_equal(net.display(net.inputs(clips)), clips["video"])
    sound = vit_mae(SOUND, patch=(8, 8), **SIZES)
    values = np.array([-9.0, -1.5, 0.0, 1.5, 9.0], np.float32)
    np.testing.assert_array_equal(sound.display(values), [0, 0, 128, 255, 255])


def test_another_shape_is_named():
    net = vit_mae(CLIP, patch=(2, 8, 8), **SIZES)
    with pytest.raises(
        ModelError, match=r"video inputs of shape \(3, 16, 16, 3\).*\(4, 16, 16, 3\)"
    ):
        net.inputs({"video": np.zeros((1, 3, 16, 16, 3), np.uint8)})


@pytest.mark.parametrize("keyword", ["positions", "decoder_positions"])
def test_positions_have_names(keyword):
    with pytest.raises(ModelError, match=r"unknown positions 'sinus': use 'sincos' or 'sinusoid'"):
        vit_mae(CLIP, patch=(2, 8, 8), **SIZES, **{keyword: "sinus"})
