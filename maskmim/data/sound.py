"""From the bytes of a sound file to a waveform."""

from __future__ import annotations

import io
import math

import numpy as np
from scipy.signal import resample_poly

from maskmim.data.extras import extra
from maskmim.data.records import BadImage, DataError

RATE = 16_000
# About two hours at 16 kHz, 23 minutes of stereo at 48 kHz.
MAX_SAMPLES = 2**27
# The filter between rates with a greatest common divisor of 1 is 20 times as long as the larger.
MAX_RATIO = 100_000


def waveform(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray,
    *,
    channels: int = 1,
    rate: int = RATE,
    shortest: float = 0.025,
    max_samples: int = MAX_SAMPLES,
) -> np.ndarray:
    """The samples of a recording as one channel: bytes -> f32[n], full scale is 1.

    encoded:  a file that libsndfile reads (wav, flac, ogg, mp3, aiff), or samples f32[n] that are
              at `rate` already, which pass unchanged.
    channels: of the spectrogram that is made of it, 1; channels of sound are averaged.
    rate:     samples per second; other rates are resampled with scipy's polyphase filter.
    shortest: seconds; a shorter recording is bad.
    max_samples: limit on samples times channels, in the file and after resampling; checked on the
              header before anything is decoded: silence packs to a thousandth.
    Nothing is random in it; it is a brick for `data.decode` and `evals.decode`.

    Raises BadImage for whatever cannot be read or is too short; DataError for other channels.
    """
    if channels != 1:
        raise DataError(
            f"sound gives spectrograms of 1 channel, not {channels}: set input.channels"
        )
    samples = encoded if isinstance(encoded, np.ndarray) else _file(encoded, rate, max_samples)
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise BadImage(f"samples f32[n] expected, got {samples.dtype}{list(samples.shape)}")
    if len(samples) < shortest * rate:
        raise BadImage(f"{len(samples) / rate:.3f} s are shorter than {shortest} s")
    if not np.isfinite(samples).all():
        raise BadImage("samples that are not finite")
    return samples


def _file(encoded: bytes, rate: int, max_samples: int) -> np.ndarray:
    """The samples of a file, averaged over channels and resampled: f32[n]."""
    soundfile = extra("soundfile", name="audio", what="sounds")
    if not encoded:
        raise BadImage("empty file")
    try:
        with soundfile.SoundFile(io.BytesIO(encoded)) as file:
            own = file.samplerate
            _check_size(file.frames, file.channels, own, rate, max_samples)
            samples = file.read(dtype="float32", always_2d=True)
    except BadImage:
        raise
    except Exception as error:  # decoders raise almost anything on malformed files
        raise BadImage.of(error) from error
    return resampled(samples.mean(axis=1), own, rate)


def _check_size(count: int, channels: int, old: int, new: int, max_samples: int) -> None:
    """BadImage where a header announces more than may be read, or a rate that costs too much."""
    most = max(count * channels, count * new // max(old, 1))
    if most > max_samples:
        raise BadImage(f"{most} samples are more than the limit of {max_samples}")
    if max(old, new) // math.gcd(old, new) > MAX_RATIO:
        raise BadImage(f"a rate of {old} per second, which is hard to bring to {new}")


def resampled(samples: np.ndarray, old: int, new: int) -> np.ndarray:
    """Samples f32[n] taken at `old` per second, as at `new` per second: f32[ceil(n new / old)]."""
    if old == new:
        return samples
    common = math.gcd(old, new)
    return resample_poly(samples, new // common, old // common).astype(np.float32)
