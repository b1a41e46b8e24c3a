"""Statistics of masks against scipy and against values by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from maskmim.mask_tools.statistics import (
    band_powers,
    component_labels,
    coverage,
    coverage_chi_square,
    coverage_p_value,
    distance_to_visible,
    frequencies,
    mean_component_size,
    mean_hidden_distance,
    pairwise_overlap,
    pool,
    power_spectrum,
    radial_power,
    visible_map,
)
from tests.tolerances import SIGNIFICANCE

SHAPES = [(40, 14, 14), (40, 7, 11), (20, 1, 50), (30, 60), (10, 4, 7, 9), (12, 1, 5, 1)]


def random_maps(seed: int, shape: tuple[int, ...], share: float) -> np.ndarray:
    shown = np.random.default_rng(seed).random(shape) < share
    shown.reshape(shape[0], -1)[:, 0] = True
    return shown


def subsets(random: np.random.Generator, shape: tuple[int, ...], tokens: int) -> np.ndarray:
    """Return maps bool[shape] with `tokens` uniformly random visible tokens each."""
    flat = random.random((shape[0], int(np.prod(shape[1:])))).argsort(1) < tokens
    return flat.reshape(shape)


def snake() -> np.ndarray:
    """Return one long winding group, the hardest case for spreading labels."""
    shown = np.zeros((1, 11, 11), bool)
    shown[:, ::2] = True
    shown[:, 1::4, -1] = True
    shown[:, 3::4, 0] = True
    return shown


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("shape", SHAPES)
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


@pytest.mark.parametrize("shape", SHAPES)
def test_distance_equals_scipy(shape):
    shown = random_maps(1, shape, 0.1)
    expected = np.stack([scipy.ndimage.distance_transform_edt(~each) for each in shown])
    np.testing.assert_allclose(distance_to_visible(shown), expected)
    means = [far[~each].mean() for far, each in zip(expected, shown, strict=True)]
    np.testing.assert_allclose(mean_hidden_distance(shown), means)


def test_a_map_that_hides_nothing_has_no_mean_distance():
    shown = np.ones((2, 3, 4), bool)
    shown[1, 0, 0] = False
    np.testing.assert_array_equal(mean_hidden_distance(shown), [np.nan, 1.0])


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
    values = []
    for _ in range(300):
        flat = np.argsort(random.random((400, 12)), axis=1) < 3
        statistic, degrees = coverage_chi_square(flat.reshape(400, 3, 4))
        values.append(statistic)
    assert degrees == 11
    # Means of 300 values of chi-square with 11 degrees: standard error sqrt(22 / 300) = 0.27.
    assert np.mean(values) == pytest.approx(11, abs=1.2)
    assert np.var(values) == pytest.approx(22, rel=0.4)


@pytest.mark.parametrize("shape", [(60, 12), (60, 3, 4), (60, 2, 2, 3)])
def test_p_values_of_even_coverage_are_uniform_on_few_maps(shape):
    """60 maps of 12 tokens, where chi-square itself rejects far too often."""
    random = np.random.default_rng(6)
    maps = [subsets(random, shape, 5) for _ in range(400)]
    p_values = [coverage_p_value(each) for each in maps]
    assert scipy.stats.kstest(p_values, "uniform").pvalue > SIGNIFICANCE
    plain = [scipy.stats.chi2.sf(*coverage_chi_square(each)) for each in maps]
    assert scipy.stats.kstest(plain, "uniform").pvalue < SIGNIFICANCE


def test_a_p_value_is_hotellings():
    shown = subsets(np.random.default_rng(7), (80, 3, 5), 4)
    statistic, degrees = coverage_chi_square(shown)
    flat = shown.reshape(80, -1)[:, :-1] - 4 / 15
    covariance = np.cov(flat, rowvar=False)
    by_hand = 80 * flat.mean(0) @ np.linalg.solve(covariance, flat.mean(0))
    assert (statistic, degrees) == (pytest.approx(by_hand), 14)
    ratio = statistic * (80 - 14) / (14 * 79)
    expected = scipy.stats.f.sf(ratio, 14, 80 - 14)
    assert coverage_p_value(shown) == pytest.approx(expected, rel=1e-3)


def test_maps_with_varying_counts_cover_evenly():
    random = np.random.default_rng(8)
    order = random.random((500, 12)).argsort(1).argsort(1)
    shown = order < random.integers(1, 12, (500, 1))
    assert coverage_chi_square(shown)[1] == 11
    assert coverage_p_value(shown) > SIGNIFICANCE
    shown[:, 0] |= random.random(500) < 0.3
    assert coverage_p_value(shown) < SIGNIFICANCE


def test_tokens_that_are_hidden_together_count_once():
    frames = subsets(np.random.default_rng(9), (200, 6), 2)
    clip = np.broadcast_to(frames[:, :, None, None], (200, 6, 3, 3))
    assert coverage_chi_square(clip) == (pytest.approx(coverage_chi_square(frames)[0]), 5)


def test_a_mask_that_never_changes_is_uneven_beyond_doubt():
    shown = np.zeros((20, 4, 4), bool)
    shown[:, 0] = True
    assert coverage_chi_square(shown) == (np.inf, 0)
    assert coverage_p_value(shown) == 0
    assert coverage_p_value(np.ones((20, 4, 4), bool)) == 1
    always = subsets(np.random.default_rng(10), (100, 12), 4)
    always = np.concatenate([always, np.ones((100, 1), bool)], axis=1)
    assert coverage_chi_square(always) == (np.inf, 11)
    assert coverage_p_value(always) == 0


def test_coverage_needs_more_maps_than_tokens():
    with pytest.raises(ValueError, match="10 maps are too few for 9 degrees"):
        coverage_p_value(subsets(np.random.default_rng(11), (10, 5, 6), 9))


def test_pooling_averages_blocks_of_neighbours():
    shown = random_maps(12, (3, 4, 5), 0.5)
    shares = pool(shown, cells=6)
    assert shares.shape == (3, 2, 3)
    for row in range(2):
        for column, columns in enumerate((slice(0, 2), slice(2, 4), slice(4, 5))):
            block = shown[:, 2 * row : 2 * row + 2, columns]
            np.testing.assert_allclose(shares[:, row, column], block.mean((1, 2)))
    np.testing.assert_array_equal(pool(shown, cells=20), shown)
    assert pool(random_maps(13, (2, 8, 14, 14), 0.5), cells=256).shape == (2, 4, 7, 7)


@pytest.mark.parametrize("shape", [(30, 11), (30, 6, 7), (30, 3, 4, 5)])
def test_the_mean_power_of_a_field_is_its_variance(shape):
    fields = np.random.default_rng(14).standard_normal(shape)
    power = power_spectrum(fields)
    assert power.shape == shape[1:]
    variance = fields.reshape(shape[0], -1).var(1).mean()
    assert np.nansum(power) / np.prod(shape[1:]) == pytest.approx(variance)


def test_frequencies_of_a_clip():
    frequency = frequencies((4, 3, 2))
    assert frequency[1, 2, 1] == pytest.approx(np.sqrt(0.25**2 + (1 / 3) ** 2 + 0.5**2))
    assert frequency[0, 0, 0] == 0


def test_waves_lie_in_their_bands_and_white_noise_in_all():
    place = np.arange(48)
    for cycles, band in ((4, 0), (8, 0), (9, 1), (16, 1), (17, 2)):
        power = band_powers(np.cos(2 * np.pi * cycles / 48 * place)[None])
        assert np.argmax(power) == band and power[np.arange(3) != band].max() < 1e-9
    for shape in ((4000, 24), (2000, 8, 9), (4000, 6, 6, 6)):
        noise = np.random.default_rng(15).standard_normal(shape)
        np.testing.assert_allclose(band_powers(noise), 1.0, atol=0.05)
    assert np.isnan(band_powers(np.ones((2, 6, 6)))).all()


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
