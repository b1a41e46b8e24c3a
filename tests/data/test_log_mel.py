"""Log-mel energies equal Kaldi's, and a tone lies in the band of its pitch."""

import numpy as np
import pytest

from maskmim.data.log_mel import FLOOR, hertz_to_mel, log_mel, mel_triangles
from tests.running import ROOT
from tests.tolerances import PARITY

GOLDEN = ROOT / "tests/golden/fbank/values.npz"


@pytest.mark.proves(12, "log-mel energies equal torchaudio's Kaldi filterbank")
@pytest.mark.parametrize(("rate", "bands"), [(16_000, 128), (8_000, 40)])
def test_equals_torchaudio(rate, bands):
    golden = np.load(GOLDEN)
    samples = golden[f"samples_{rate}"].astype(np.float32) / 2**15
    found, wanted = log_mel(samples, rate=rate, bands=bands), golden[f"fbank_{rate}"]
    assert found.shape == wanted.shape and found.dtype == np.float32
    assert np.abs(found - wanted).max() <= PARITY * np.abs(wanted).max()


@pytest.mark.parametrize("pitch", [440.0, 1000.0, 5000.0])
def test_a_tone_lies_in_its_band(pitch):
    samples = np.sin(2 * np.pi * pitch * np.arange(8000) / 16_000).astype(np.float32)
    centres = np.linspace(hertz_to_mel(20.0), hertz_to_mel(8000.0), 130)[1:-1]
    found = log_mel(samples).argmax(axis=1)
    assert np.all(np.abs(found - np.abs(centres - hertz_to_mel(pitch)).argmin()) <= 1)


def test_a_constant_is_silence():
    np.testing.assert_allclose(log_mel(np.full(800, 0.25, np.float32)), np.log(FLOOR), atol=1e-5)


def test_frames_lie_wholly_inside():
    counts = [len(log_mel(np.ones(n, np.float32))) for n in (0, 399, 400, 559, 560, 16_000)]
    assert counts == [0, 0, 1, 1, 2, 98]


def test_triangles():
    found = mel_triangles(16_000, 512, 40)
    assert found.shape == (257, 40) and found.min() == 0 and found[-1].max() == 0
    inner = found[20:200].sum(axis=1)
    np.testing.assert_allclose(inner, 1.0, atol=1e-5)
