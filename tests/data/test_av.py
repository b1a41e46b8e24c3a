"""Sounding sprites: the pitch that is heard is the height of the object that is seen."""

import numpy as np
import pytest

from maskmim.data.augment_each import each
from maskmim.data.av import heights, sounding_sprites, tone
from maskmim.data.log_mel import hertz_to_mel
from maskmim.data.records import DataError, Records
from maskmim.data.sound import RATE
from maskmim.data.spectrograms import first_stretch
from maskmim.data.sprites import as_made, sprites

FRAMES, SIZE, SECONDS, PITCHES = 8, (40, 48), 0.66, (300.0, 3000.0)


def clips_of(**changes):
    options = {"split": "val", "count": 6, "frames": FRAMES, "size": SIZE, "seconds": SECONDS}
    return sounding_sprites(**{**options, **changes})


def test_clips_and_sounds_are_the_same_at_every_reading():
    records, again = clips_of(), clips_of()
    assert isinstance(records, Records) and len(records) == 6
    one, two = records[2], again[2]
    np.testing.assert_array_equal(one.encoded["video"], two.encoded["video"])
    np.testing.assert_array_equal(one.encoded["audio"].samples, two.encoded["audio"].samples)
    assert one.labels == two.labels
    others = {"seconds": 0.7}, {"behind": 0.5}, {"pitches": (200.0, 900.0)}, {"seed": 1}
    assert len({clips_of(**each).fingerprint for each in others} | {records.fingerprint}) == 5
    assert (clips_of(seed=1)[2].encoded["audio"].samples != one.encoded["audio"].samples).any()


def test_the_object_keeps_its_pixels_and_the_photograph_is_dark():
    example, bright = clips_of()[1], sprites(split="val", count=6, frames=FRAMES, size=SIZE)[1]
    there = example.fields["object"][..., 0] == 1
    clip = example.encoded["video"]
    assert clip.dtype == np.uint8 and clip.shape == (FRAMES, *SIZE, 3)
    np.testing.assert_array_equal(clip[there], bright.encoded[there])
    difference = clip[~there] - 0.3 * bright.encoded[~there].astype(np.float64)
    assert np.abs(difference).max() <= 0.5 + 1e-4


@pytest.mark.proves(
    87, "the pitch of the synthetic sound is the height of the object, at all times"
)
def test_the_loudest_frequency_is_the_height_of_the_object():
    rising = set()
    for index in range(6):
        example = clips_of()[index]
        sound, there = example.encoded["audio"], example.fields["object"]
        assert sound.samples.dtype == np.float32 and sound.rate == RATE
        assert len(sound.samples) == round(SECONDS * RATE)
        rows = [np.nonzero(frame[..., 0])[0].mean() + 0.5 for frame in there]
        expected = PITCHES[0] * 10 ** (1 - np.array(rows) / SIZE[0])
        parts = np.array_split(sound.samples, FRAMES)[1:-1]
        heard = [
            np.argmax(np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 15))) * RATE / (1 << 15)
            for part in parts
        ]
        assert np.abs(np.log(np.array(heard) / expected[1:-1])).max() < 0.12
        rising.add(bool(expected[-1] > expected[0]))
    assert rising == {False, True}


def test_heights_and_pitches_by_formula():
    there = np.zeros((2, 4, 3, 1), np.uint8)
    there[0, 0, 1], there[1, 2:, :] = 1, 1
    np.testing.assert_allclose(heights(there), [0.875, 0.25])
    for level, hertz in ((0.0, 300.0), (1.0, 3000.0), (0.5, 300 * 10**0.5)):
        spectrum = np.abs(np.fft.rfft(tone(np.full(4, level), RATE, PITCHES)))
        assert abs(np.argmax(spectrum) - hertz) <= 1


def test_spectrograms_show_the_height():
    sound = clips_of()[0].encoded["audio"]
    rng = np.random.default_rng(0)
    energies = each(rng, {"audio": sound}, {"audio": (64, 32)}, streams={"audio": first_stretch})
    loudest = np.argmax(energies["audio"][..., 0], axis=1)
    steps = np.linspace(hertz_to_mel(20.0), hertz_to_mel(RATE / 2), 34)[1:-1]
    levels = np.interp(
        np.arange(64), (np.arange(8) + 0.5) * 8, heights(clips_of()[0].fields["object"])
    )
    expected = hertz_to_mel(300 * 10**levels)
    assert np.abs(steps[loudest] - expected).max() < 2 * (steps[1] - steps[0])


def test_each_stream_has_its_own_augmentation():
    rng = np.random.default_rng(0)
    arrays = {"video": np.zeros((2, 4, 4, 3), np.uint8), "kept": np.ones(3)}
    sizes = {"video": (2, 4, 4), "kept": (3,)}
    made = each(rng, arrays, sizes, streams={"video": as_made})
    assert made["video"].shape == (2, 4, 4, 3) and made["kept"] is arrays["kept"]
    with pytest.raises(DataError, match=r"data\.augment\.streams has 'audio'"):
        each(rng, arrays, sizes, streams={"audio": first_stretch})
    with pytest.raises(DataError) as caught:
        each(rng, arrays, {**sizes, "video": (3, 4, 4)}, streams={"video": as_made})
    assert caught.value.stream == "video"
