"""Decoding of sound files to waveforms."""

from __future__ import annotations

import io
import math
from typing import Annotated, NamedTuple

import numpy as np

from maskmim.config.ranges import Limits, Positive, PositiveInt
from maskmim.data.extras import import_extra
from maskmim.data.records import BadImage, DataError

RATE = 16_000
# A frame of a spectrogram, 10 ms, has at least ten samples.
Rate = Annotated[int, Limits(1_000, 768_000)]
# About two hours at 16 kHz, 23 minutes of stereo at 48 kHz.
MAX_SAMPLES = 2**27
# Between coprime rates, the resampling filter is 20 times as long as the larger rate.
MAX_RATIO = 100_000


class Sound(NamedTuple):
    """A recording of one channel.

    samples: f32[n], full scale is 1. rate: samples per second.
    """

    samples: np.ndarray
    rate: int


def waveform(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray | Sound,
    channels: PositiveInt = 1,
    *,
    rate: Rate = RATE,
    shortest: Positive = 0.025,
    max_samples: PositiveInt = MAX_SAMPLES,
) -> Sound:
    """Return a recording as one channel at `rate`; what follows takes the rate from the `Sound`.

    A brick for `data.decode`, without randomness; evaluations use the same (evals.decode=None).
    encoded:  a file that libsndfile reads (wav, flac, ogg, mp3, aiff), a Sound of any rate, or
              samples f32[n] already at `rate`, which are returned unchanged.
    channels: of the spectrogram, 1; the channels of a recording are averaged.
    rate:     samples per second, the only such key of a config; other rates are resampled with
              scipy's polyphase filter.
    shortest: seconds; a shorter recording is bad.
    max_samples: limit on samples times channels, in the file and after resampling; checked in the
              header before anything is decoded, since silence compresses to a thousandth.

    Raises BadImage where the file cannot be read or is too short; DataError for other channels.
    """
    if channels != 1:
        raise DataError(
            f"sound gives spectrograms of 1 channel, not {channels}: set input.channels to 1"
        )
    samples = _samples(encoded, rate, max_samples)
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise BadImage(f"expected samples f32[n], got {samples.dtype}{list(samples.shape)}")
    if len(samples) < shortest * rate:
        raise BadImage(f"{len(samples) / rate:.3f} s are shorter than {shortest} s")
    if not np.isfinite(samples).all():
        raise BadImage("samples that are not finite")
    return Sound(samples, rate)


def _samples(encoded: bytes | np.ndarray | Sound, rate: int, max_samples: int) -> np.ndarray:
    """Return the samples at `rate`; those of an array are believed to be."""
    if isinstance(encoded, np.ndarray):
        return encoded
    if isinstance(encoded, Sound):
        _check_size(len(encoded.samples), 1, encoded.rate, rate, max_samples)
        return resample(encoded.samples, encoded.rate, rate)
    return _read_file(encoded, rate, max_samples)


def _read_file(encoded: bytes, rate: int, max_samples: int) -> np.ndarray:
    """Return the samples of a file, averaged over channels and resampled: f32[n]."""
    soundfile = import_extra("soundfile", name="audio", what="sounds")
    if not encoded:
        raise BadImage("empty file")
    try:
        with soundfile.SoundFile(io.BytesIO(encoded)) as file:
            file_rate = file.samplerate
            _check_size(file.frames, file.channels, file_rate, rate, max_samples)
            samples = file.read(dtype="float32", always_2d=True)
    except BadImage:
        raise
    except Exception as error:  # decoders raise almost anything on malformed files
        raise BadImage.of(error) from error
    return resample(samples.mean(axis=1), file_rate, rate)


def _check_size(count: int, channels: int, old: int, new: int, max_samples: int) -> None:
    """Raise BadImage where a header states too many samples, or a rate too costly to resample."""
    most = max(count * channels, count * new // max(old, 1))
    if most > max_samples:
        raise BadImage(f"{most} samples are more than the limit of {max_samples}")
    if max(old, new) // math.gcd(old, new) > MAX_RATIO:
        raise BadImage(f"a rate of {old} per second, too costly to resample to {new}")


def resample(samples: np.ndarray, old: int, new: int) -> np.ndarray:
    """Resample f32[n] from `old` to `new` samples per second: f32[ceil(n new / old)]."""
    if old == new:
        return samples
    from scipy.signal import resample_poly  # takes half a second, and few read sounds

    common = math.gcd(old, new)
    return resample_poly(samples, new // common, old // common).astype(np.float32)
