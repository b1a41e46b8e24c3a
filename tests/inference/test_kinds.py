"""Clips, sounds, streams, views and codes: what each can do, and what it says of the rest."""

import numpy as np
import pytest

from maskmim.data.pans import pans
from maskmim.data.sound import Sound
from maskmim.data.tones import tones
from maskmim.evals.trained import Chosen
from maskmim.inference import InferenceError
from tests.inference.untrained import untrained
from tests.tolerances import REORDERED

pytestmark = pytest.mark.full
PICTURES = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)


def test_clips_without_a_class_token():
    model = untrained("videomae", batch_size=2)
    clips = np.random.default_rng(0).integers(0, 256, (2, 12, 40, 40, 3), np.uint8)
    assert model.features_map(clips).shape == (2, 4, 4, 4, 32)
    attention = model.attention(clips)
    assert attention.shape == (2, 2, 4, 4, 4)
    np.testing.assert_allclose(attention.sum(axis=(2, 3, 4)), 1, atol=REORDERED)
    assert model.reconstruct(clips[0]).masked.shape == (1, 8, 32, 32, 3)
    records = Chosen(pans(split="val", frames=12, side=40), np.arange(2))
    arrays = [records[i].encoded for i in range(2)]
    if all(isinstance(array, np.ndarray) for array in arrays):
        np.testing.assert_array_equal(model.encode(records), model.encode(arrays))
    with pytest.raises(InferenceError, match="needs a class token, this encoder has none"):
        model.encode(clips, pooling="class")
    with pytest.raises(InferenceError, match=r"shape \[40, 40, 3\]: give arrays \[T, H, W, C\]"):
        model.encode(clips[0, 0])


def test_sounds():
    model = untrained("audio_mae", batch_size=2)
    sound = tones(count=2, seconds=0.6)[0].encoded
    samples, rate = (sound.samples, sound.rate) if isinstance(sound, Sound) else (sound, 16_000)
    wanted = model.encode(tones(count=2, seconds=0.6))[:1]
    np.testing.assert_allclose(model.encode(samples), wanted, atol=REORDERED)
    np.testing.assert_array_equal(model.encode(Sound(samples, rate)), model.encode(samples))
    assert model.reconstruct(samples).reconstruction.shape == (1, 64, 32, 1)
    assert model.mask(3).shape == (3, 8, 4)
    with pytest.raises(InferenceError, match=r"0\.000 s are shorter than"):
        model.encode(samples[:1])


def test_several_streams():
    model = untrained("multimae", batch_size=2)
    assert model.features_map(PICTURES).shape == (2, 4, 4, 32)
    assert model.features_map({"image": PICTURES}, stream="colours").shape == (2, 4, 4, 32)
    assert model.mask(3, stream="grey").shape == (3, 4, 4)
    assert model.attention(PICTURES, stream="grey").shape == (2, 2, 4, 4)
    assert model.reconstruct(PICTURES).reconstruction.shape == (2, 32, 32, 3)
    assert model.reconstruct(PICTURES, stream="colours").input.shape == (2, 8, 8, 1)
    assert model.at_size(64).loaded.spec.streams["colours"].size == (16, 16)
    with pytest.raises(InferenceError, match="image, which the others are made of"):
        model.encode({"image": PICTURES, "grey": PICTURES[..., :1]})
    with pytest.raises(InferenceError, match="the encoder sees image, colours, grey"):
        model.features_map(PICTURES, stream="depth")


def test_views():
    model = untrained("lut", batch_size=2)
    made = model.reconstruct(PICTURES)
    assert made.hidden.shape == (2, 4, 4) and made.input.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(made.hidden, model.mask(PICTURES))


def test_codes_of_a_frozen_tokenizer():
    model = untrained("maskgit", batch_size=2)
    assert model.features_map(PICTURES).shape == (2, 8, 8, 32)
    assert model.mask(2).shape == (2, 8, 8)
    for call in (lambda: model.encode(PICTURES, layers=-1), lambda: model.attention(PICTURES)):
        with pytest.raises(InferenceError, match="gives its last tokens alone"):
            call()
    with pytest.raises(InferenceError, match="masked_tokens of this config predicts no pixels"):
        model.reconstruct(PICTURES)


def test_blocks_that_differ_in_width_have_no_layers():
    model = untrained("convnext_v2", batch_size=2)
    with pytest.raises(InferenceError, match="convnext_fcmae returns no layers"):
        model.encode(PICTURES, layers=-1)
