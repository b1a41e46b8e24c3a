"""From the bytes of a sound file to a waveform."""

from __future__ import annotations

import io
import math

import numpy as np
from scipy.signal import resample_poly

from maskmim.data.extras import extra
from maskmim.data.records import BadImage, DataError

RATE = 16_000


def waveform(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray,
    *,
    channels: int = 1,
    rate: int = RATE,
    shortest: float = 0.025,
) -> np.ndarray:
    """The samples of a recording as one channel: bytes -> f32[n], full scale is 1.

    encoded:  a file that libsndfile reads (wav, flac, ogg, mp3, aiff), or samples f32[n] that are
              at `rate` already, which pass unchanged.
    channels: of the spectrogram that is made of it, 1; channels of sound are averaged.
    rate:     samples per second; other rates are resampled with scipy's polyphase filter.
    shortest: seconds; a shorter recording is bad.
    Nothing is random in it; it is a brick for `data.decode` and `evals.decode`.

    Raises BadImage for whatever cannot be read or is too short; DataError for other channels.
    """
    if channels != 1:
        raise DataError(
            f"sound gives spectrograms of 1 channel, not {channels}: set input.channels"
        )
    samples = encoded if isinstance(encoded, np.ndarray) else _file(encoded, rate)
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise BadImage(f"samples f32[n] expected, got {samples.dtype}{list(samples.shape)}")
    if len(samples) < shortest * rate:
        raise BadImage(f"{len(samples) / rate:.3f} s are shorter than {shortest} s")
    if not np.isfinite(samples).all():
        raise BadImage("samples that are not finite")
    return samples


def _file(encoded: bytes, rate: int) -> np.ndarray:
    """The samples of a file, averaged over channels and resampled: f32[n]."""
    soundfile = extra("soundfile", name="audio", what="sounds")
    if not encoded:
        raise BadImage("empty file")
    try:
        samples, own = soundfile.read(io.BytesIO(encoded), dtype="float32", always_2d=True)
    except Exception as error:  # decoders raise almost anything on malformed files
        raise BadImage(" ".join(str(error).split())[:200] or type(error).__name__) from error
    return resampled(samples.mean(axis=1), own, rate)


def resampled(samples: np.ndarray, old: int, new: int) -> np.ndarray:
    """Samples f32[n] taken at `old` per second, as at `new` per second: f32[ceil(n new / old)]."""
    if old == new:
        return samples
    common = math.gcd(old, new)
    return resample_poly(samples, new // common, old // common).astype(np.float32)
