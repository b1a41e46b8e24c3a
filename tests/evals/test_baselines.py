"""The untrained encoders of a stream's kind, on the arrays of a batch."""

import numpy as np
import pytest

from maskmim import modalities
from maskmim.evals.baselines import untrained_encoders
from maskmim.types import Spec


def spec_of(size, channels, dtype="uint8", **more):
    return Spec(size, channels, (0.0,) * channels, (1.0,) * channels, dtype=dtype, **more)


def names(spec, modality):
    return list(untrained_encoders(spec, modality))


@pytest.mark.parametrize("channels, dtype", [(13, "uint8"), (3, "float32"), (1, "float32")])
def test_images_without_joint_levels_have_statistics_of_channels(channels, dtype):
    spec = spec_of((4, 6), channels, dtype)
    encoders = untrained_encoders(spec, modalities.image())
    images = np.random.default_rng(0).uniform(0, 99, (2, 4, 6, channels)).astype(dtype)
    expected = np.concatenate([images.mean((1, 2)), images.std((1, 2))], -1)
    found = encoders["channel statistics"]({"image": images, "depth": None})
    assert np.abs(found - expected).max() < 1e-3
    assert list(encoders) == ["raw pixels", "channel statistics"]


def test_each_kind_has_the_encoders_that_the_name_of_its_stream_had():
    photo, video = spec_of((16, 16), 3), spec_of((4, 16, 16), 3, stream="video")
    sound = spec_of((32, 16), 1, "float32", stream="audio")
    assert names(photo, modalities.image()) == ["raw pixels", "colour histogram"]
    assert names(video, modalities.clip()) == ["raw pixels", "colour histogram"]
    assert names(sound, modalities.spectrogram()) == ["log-mel statistics"]
    labels = spec_of((16, 16), 1, classes=5)
    assert names(labels, modalities.class_map()) == ["class shares"]
    assert names(photo, modalities.unseen()) == []


def test_a_kind_for_other_sizes_has_no_encoders():
    assert names(spec_of((64,), 1, "int32"), modalities.image()) == []


def test_clips_have_the_pixels_of_the_middle_frame_and_the_colours_of_all():
    clips = np.random.default_rng(0).integers(0, 256, (2, 5, 16, 16, 3), np.uint8)
    encoders = untrained_encoders(spec_of((5, 16, 16), 3, stream="video"), modalities.clip())
    found = encoders["raw pixels"]({"video": clips})
    np.testing.assert_allclose(found, clips[:, 2].reshape(2, -1) / 255, atol=1e-6)
    shuffled = clips[:, [3, 1, 0, 2, 4]]
    colours = encoders["colour histogram"]
    np.testing.assert_array_equal(colours({"video": clips}), colours({"video": shuffled}))


def test_sounds_have_the_statistics_of_their_bands():
    sound = np.random.default_rng(0).normal(size=(2, 32, 4, 1)).astype(np.float32)
    spec = spec_of((32, 4), 1, "float32", stream="audio")
    found = untrained_encoders(spec, modalities.spectrogram())["log-mel statistics"]
    expected = np.concatenate([sound.mean(1)[..., 0], sound.std(1)[..., 0]], -1)
    np.testing.assert_allclose(found({"audio": sound}), expected, atol=1e-5)
