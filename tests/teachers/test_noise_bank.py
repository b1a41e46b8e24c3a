"""Banks of noise: generated ones, the authors' files, and files that are not banks."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from maskmim.mask_tools.statistics import radial_power
from maskmim.masks.bank import cropped
from maskmim.masks.colour import filter_of
from maskmim.masks.gaussian import filtered_noise
from maskmim.teachers.noise_bank import BankError, from_npz, generated
from maskmim.types import Context, Randomness


def bank_of(teacher) -> np.ndarray:
    extra, frozen = teacher.init(jax.random.key(9), None, {}), teacher.freeze()
    assert extra == ()
    hints = teacher.find(None, extra, frozen, None, None)
    assert tuple(hints) == teacher.gives == ("noise_bank",) and not teacher.sees_mask
    assert teacher.refresh(extra, {}, (), 0.5) is extra
    return np.asarray(hints["noise_bank"])


def test_a_generated_bank_has_its_size_its_seed_and_its_colour():
    bank = bank_of(generated(colour="red", count=300, size=24, sigmas=(1.5,), seed=4))
    assert bank.shape == (300, 24, 24) and bank.dtype == np.float32
    assert len(np.unique(bank[:, 0, 0])) == 300
    np.testing.assert_array_equal(
        bank, bank_of(generated(colour="red", count=300, size=24, sigmas=(1.5,), seed=4))
    )
    key = jax.random.fold_in(jax.random.key(4), 257)
    expected = filtered_noise(key[None], (24, 24), filter_of("red", (1.5,)))[0]
    np.testing.assert_allclose(bank[257], expected, atol=1e-6)
    other = bank_of(generated(colour="blue", count=20, size=24, seed=4))
    _, red = radial_power(bank, rings=6)
    _, blue = radial_power(other, rings=6)
    assert red[0] > 10 * red[-1] and blue[-1] > 10 * blue[0]


def test_the_default_bank_has_the_published_number_of_patterns():
    assert jax.eval_shape(generated().freeze)["bank"].shape == (3072, 64, 64)


def test_a_file_gives_its_first_array(tmp_path):
    noise = np.random.RandomState(0).standard_normal((5, 20, 22))
    np.savez(tmp_path / "bank.npz", patterns=noise, other=np.zeros(3))
    bank = bank_of(from_npz(path=str(tmp_path / "bank.npz")))
    np.testing.assert_array_equal(bank, noise.astype(np.float32))
    context = Context({}, {"image": (14, 14)}, {"noise_bank": bank})
    mask = cropped(Randomness.of(jax.random.key(0), 7), context, ratio=0.75)
    assert mask.visible.shape == (7, 49)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((3, 4))}, r"float64\[3, 4\], not real numbers"),
        ({"a": np.zeros((3, 4, 4), complex)}, "not real numbers"),
        ({"a": np.zeros((0, 4, 4))}, "not real numbers"),
        ({"a": np.full((1, 4, 4), np.nan)}, "not finite"),
        ({"a": np.array([{}])}, "cannot be read as numbers"),
        ({}, "not real numbers"),
    ],
)
def test_files_that_hold_no_bank_are_errors(tmp_path, arrays, message):
    path = tmp_path / "bank.npz"
    np.savez(path, **arrays)
    with pytest.raises(BankError, match=message):
        from_npz(path=str(path))


def test_files_that_are_no_npz_are_errors(tmp_path):
    with pytest.raises(BankError, match=r"no noise bank at .*missing\.npz"):
        from_npz(path=str(tmp_path / "missing.npz"))
    (tmp_path / "text.npz").write_text("green")
    with pytest.raises(BankError, match="is not an npz"):
        from_npz(path=str(tmp_path / "text.npz"))
    np.savez_compressed(tmp_path / "whole.npz", a=np.random.RandomState(0).rand(4, 30, 30))
    damaged = bytearray((tmp_path / "whole.npz").read_bytes())
    damaged[200:4000] = bytes(3800)
    (tmp_path / "damaged.npz").write_bytes(bytes(damaged))
    with pytest.raises(BankError, match="cannot be read"):
        from_npz(path=str(tmp_path / "damaged.npz"))


@pytest.mark.parametrize(
    "keywords", [{"colour": "pink"}, {"count": 0}, {"size": 0}, {"sigmas": (1.0, 2.0, 3.0)}]
)
def test_banks_that_cannot_be_made_are_errors(keywords):
    with pytest.raises(BankError):
        generated(**keywords)
