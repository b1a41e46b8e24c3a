"""Records what torchaudio's Kaldi filterbank gives, as AudioMAE calls it, in fbank.npz.

  python -m tests.golden.fbank.record KALDI_PY

KALDI_PY: torchaudio/compliance/kaldi.py of torchaudio 2.11.0 (it needs torch alone; its package's
compiled parts need not load). The arguments are those of dataset.py, facebookresearch/AudioMAE,
commit bd60e29651285f80d32a6405082835ad26e6f19f. The samples are a rising tone that fades into
noise, as 16-bit integers.
"""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch

FILE = Path(__file__).with_name("values.npz")


def main(path: str) -> None:
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    spec = importlib.util.spec_from_file_location("kaldi", path)
    kaldi = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kaldi)
    found = {}
    for rate, bands in ((16_000, 128), (8_000, 40)):
        samples = made(rate)
        waveform = torch.from_numpy(samples.astype(np.float32) / 2**15)[None]
        fbank = kaldi.fbank(
            waveform - waveform.mean(),
            htk_compat=True,
            sample_frequency=rate,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=bands,
            dither=0.0,
            frame_shift=10,
        )
        found |= {f"samples_{rate}": samples, f"fbank_{rate}": fbank.numpy()}
    np.savez_compressed(FILE, **found)


def made(rate: int) -> np.ndarray:
    """A quarter of a second of sound, with a constant offset: i16[n]."""
    times = np.arange(rate // 4) / rate
    tone = np.sin(2 * np.pi * (300 + 4000 * times) * times) * np.exp(-10 * times)
    noise = np.random.default_rng(0).normal(size=len(times))
    return np.round(2**15 * (0.05 + 0.5 * tone + 0.01 * noise)).astype(np.int16)


if __name__ == "__main__":
    main(sys.argv[1])
