"""Training and evaluations read sounds and clips alike: one sample rate, one stride."""

from functools import partial

import numpy as np
import pytest
from scipy.signal import resample_poly

from maskmim.config.load import load
from maskmim.config.serialize import from_json, to_json
from maskmim.config.upgrade import upgrade
from maskmim.data.clips import centre_clip, random_clip
from maskmim.data.decode import picture
from maskmim.data.decoder_check import check_same_meaning
from maskmim.data.log_mel import log_mel
from maskmim.data.pipeline import eval_batches, train_batches
from maskmim.data.records import DataError
from maskmim.data.sound import waveform
from maskmim.training.build import bind_data, bind_evals, spec_of


def sound_config(*overrides):
    return load("audio_mae:tiny", overrides)


def keys_named(config, name, path=""):
    found = [path + name] if name in config else []
    sections = [(key, each) for key, each in config.items() if hasattr(each, "items")]
    return found + [key for at, each in sections for key in keys_named(each, name, f"{path}{at}.")]


def assert_close(found, expected):
    """Compare the bands that hold sound: above 8 kHz a resampled one has rounding errors alone."""
    loud = expected > -12
    assert loud.mean() > 0.5
    np.testing.assert_allclose(found[loud], expected[loud], atol=2e-3)


def test_a_sound_config_has_one_sample_rate():
    assert keys_named(sound_config(), "rate") == ["data.decode.rate"]


@pytest.mark.parametrize("rate", [8_000, 16_000, 32_000])
def test_every_spectrogram_follows_the_one_rate(rate):
    config = sound_config(f"data.decode.rate={rate}", "data.augment.loudness=0")
    spec, data, evals = spec_of(config), bind_data(config), bind_evals(config)
    records = evals.test()

    def spectrograms(start):
        samples = resample_poly(records[start].encoded.samples.astype(np.float64), rate, 16_000)
        return log_mel(samples.astype(np.float32), rate=rate, bands=32)

    batch = next(
        eval_batches(
            records, spec=spec, batch_size=8, decode=evals.decode, transform=evals.transform
        )
    )
    for index in range(8):
        frames = min(spec.size[0], len(spectrograms(index)))
        expected = spectrograms(index)[:frames]
        assert_close(batch["audio"][index, :frames, :, 0], expected)
    stream = train_batches(
        records, spec=spec, batch_size=8, seed=0, decode=data.decode, augment=data.augment
    )
    trained = next(stream)
    for place, index in enumerate(trained["record"]):
        whole = spectrograms(int(index))
        if len(whole) <= spec.size[0]:  # then the stretch is the whole recording
            assert_close(trained["audio"][place, : len(whole), :, 0], whole)


def test_configs_with_a_rate_in_every_place_are_still_read():
    config = sound_config().copy_and_resolve_references()
    with config.unlocked():
        config.evals.decode = config.data.decode
        for section in (config.data.augment, config.evals.transform, config.data.train):
            section.rate = 16_000
    stored = upgrade(from_json(to_json(config)))
    assert keys_named(stored, "rate") == ["data.decode.rate", "evals.decode.rate"]
    check_same_meaning(bind_data(stored).decode, bind_evals(stored).decode)


def test_other_rates_strides_and_lengths_in_evaluations_are_refused():
    clips = partial(random_clip, frames=8, stride=2)
    cases = [
        (partial(waveform, rate=8_000), partial(waveform, rate=16_000), r"rate is 8000.*pitch"),
        (clips, partial(centre_clip, frames=8, stride=4), r"stride=2"),
        (clips, partial(centre_clip, frames=4, stride=2), r"length"),
    ]
    for train, evals, words in cases:
        with pytest.raises(DataError, match=words):
            check_same_meaning(train, evals)
        check_same_meaning(train, train)
        check_same_meaning(train, partial(picture, short_side=0))


def test_the_decoder_of_evaluations_can_be_another():
    config = sound_config(
        "evals.decode.brick=maskmim.data.sound.waveform", "evals.decode.rate=8000"
    )
    assert config.evals.decode.rate == 8_000 and config.data.decode.rate == 16_000
    with pytest.raises(DataError, match=r"--config\.evals\.decode\.rate=16000"):
        check_same_meaning(bind_data(config).decode, bind_evals(config).decode)
