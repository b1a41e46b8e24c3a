"""Statistics of masks against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from maskmim.masks.statistics import (
    component_labels,
    coverage,
    coverage_chi_square,
    distance_to_visible,
    mean_component_size,
    pairwise_overlap,
    radial_power,
    visible_map,
)


def random_maps(seed: int, shape: tuple[int, ...], share: float) -> np.ndarray:
    shown = np.random.default_rng(seed).random(shape) < share
    shown[:, 0, 0] = True
    return shown


def snake() -> np.ndarray:
    """One long winding group, the hardest case for handing labels on."""
    shown = np.zeros((1, 11, 11), bool)
    shown[:, ::2] = True
    shown[:, 1::4, -1] = True
    shown[:, 3::4, 0] = True
    return shown


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("shape", [(40, 14, 14), (40, 7, 11), (20, 1, 50)])
def test_components_equal_scipy(shape, share):
    shown = random_maps(0, shape, share)
    labels = component_labels(shown)
    np.testing.assert_array_equal(labels > 0, shown)
    for ours, each in zip(labels, shown, strict=True):
        theirs, count = scipy.ndimage.label(each)
        pairs = {(int(a), int(b)) for a, b in zip(ours[each], theirs[each], strict=True)}
        assert len(pairs) == count == len({a for a, _ in pairs})
    sizes = [each.sum() / scipy.ndimage.label(each)[1] for each in shown]
    np.testing.assert_allclose(mean_component_size(shown), sizes)


def test_a_winding_group_is_one():
    assert mean_component_size(snake())[0] == snake().sum() == 71


def test_distance_equals_scipy():
    shown = random_maps(1, (20, 7, 11), 0.1)
    expected = np.stack([scipy.ndimage.distance_transform_edt(~each) for each in shown])
    np.testing.assert_allclose(distance_to_visible(shown), expected)


def test_overlap_equals_the_count_over_all_pairs():
    random = np.random.default_rng(2)
    flat = np.argsort(random.random((9, 30)), axis=1) < 8
    pairs = [(a & b).sum() / 8 for i, a in enumerate(flat) for b in flat[i + 1 :]]
    assert pairwise_overlap(flat.reshape(9, 5, 6)) == pytest.approx(np.mean(pairs))
    assert pairwise_overlap(np.repeat(flat[:1], 4, axis=0)) == 1.0


def test_maps_and_coverage():
    shown = visible_map(np.array([[0, 3], [1, 3]]), (2, 2))
    np.testing.assert_array_equal(shown, [[[1, 0], [0, 1]], [[0, 1], [0, 1]]])
    np.testing.assert_array_equal(coverage(shown), [[0.5, 0.5], [0, 1]])


def test_the_chi_square_follows_its_distribution():
    random = np.random.default_rng(3)
    found = []
    for _ in range(300):
        flat = np.argsort(random.random((400, 12)), axis=1) < 3
        statistic, degrees = coverage_chi_square(flat.reshape(400, 3, 4))
        found.append(statistic)
    assert degrees == 11
    # Means of 300 values of chi-square with 11 degrees: standard error sqrt(22 / 300) = 0.27.
    assert np.mean(found) == pytest.approx(11, abs=1.2)
    assert np.var(found) == pytest.approx(22, rel=0.4)


def test_radial_power_of_white_noise_is_one_and_of_a_wave_lies_in_its_ring():
    noise = np.random.default_rng(4).standard_normal((200, 16, 16))
    frequency, power = radial_power(noise, rings=8)
    np.testing.assert_allclose(frequency, (np.arange(8) + 0.5) / 16)
    np.testing.assert_allclose(power, 1.0, atol=0.1)
    wave = np.cos(2 * np.pi * 0.25 * np.arange(16)) * np.ones((1, 16, 1))
    _, power = radial_power(wave, rings=8)
    assert np.argmax(power) == 3 and power[np.arange(8) != 3].max() < 1e-9


def test_power_of_a_map_equals_its_variance():
    shown = random_maps(5, (6, 12, 12), 0.3)
    flat = np.asarray(shown, float).reshape(6, -1)
    centred = np.fft.fft2(shown - flat.mean(1)[:, None, None])
    total = (np.abs(centred) ** 2).mean(0).sum() / 144**2
    assert total == pytest.approx(flat.var(1).mean())
    _, power = radial_power(shown, rings=1)
    frequency = np.hypot(np.fft.fftfreq(12)[:, None], np.fft.fftfreq(12)[None])
    ring = (frequency > 0) & (frequency <= 0.5)
    assert power[0] == pytest.approx(((np.abs(centred) ** 2).mean(0) / 144)[ring].mean())


@pytest.mark.parametrize("measure", [mean_component_size, distance_to_visible])
def test_an_empty_map_is_an_error(measure):
    shown = np.ones((3, 4, 4), bool)
    shown[1] = False
    with pytest.raises(ValueError, match="map 1 has no visible token"):
        measure(shown)


def test_overlap_needs_two_maps():
    with pytest.raises(ValueError, match="two maps"):
        pairwise_overlap(np.ones((1, 2, 2), bool))
