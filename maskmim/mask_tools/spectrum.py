"""Radial power spectra of colour noise, computed from its sigmas and measured."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from maskmim.mask_tools.statistics import radial_power, ring_mean
from maskmim.masks.colour import filter_of
from maskmim.masks.gaussian import Filter, filtered_noise, kernel, sigmas_of
from maskmim.types import random_key


class Spectrum(NamedTuple):
    """A radially averaged power spectrum; white noise of variance 1 has power 1 everywhere.

    frequency: f64[rings] middle of each ring, cycles per token; 0.5 is the highest of a grid.
    analytic:  f64[rings] |H(f)|^2 of the filter, averaged over the same frequencies.
    measured:  f64[rings] from fields of filtered noise.
    """

    frequency: np.ndarray
    analytic: np.ndarray
    measured: np.ndarray


def transfer(frequencies: np.ndarray, blurs: Filter) -> np.ndarray:
    """Return H(f), the gain of a filter: f64[..., axes] cycles per token -> f64[...].

    The exact transform of the truncated, sampled kernels; real, as they are symmetric.
    """
    total = np.zeros(frequencies.shape[:-1])
    for blur in blurs:
        gain = np.full(frequencies.shape[:-1], blur.weight)
        for axis, sigma in enumerate(sigmas_of(blur, frequencies.shape[-1])):
            weights = kernel(sigma)
            offsets = np.arange(len(weights)) - len(weights) // 2
            waves = np.cos(2 * np.pi * frequencies[..., axis, None] * offsets)
            gain = gain * (waves @ weights)
        total += gain
    return total


def spectrum(
    colour: str,
    *,
    sigmas: tuple[float, ...] = (),
    grid: tuple[int, int] = (64, 64),
    count: int = 256,
    rings: int = 24,
    seed: int = 0,
) -> Spectrum:
    """Return the radial power spectrum of a colour's noise before any ranking.

    sigmas: of the colour's blurs, () for the defaults of `colour`.
    grid:   size of the fields; larger ones resolve finer.
    count:  number of fields.
    rings:  resolution of the spectrum.
    Fields are tapered with a Hann window; without it power leaks from strong to weak frequencies.
    Raises ValueError for an unknown colour or sigmas that do not fit it.
    """
    blurs = filter_of(colour, sigmas)
    axes = np.meshgrid(*(np.fft.fftfreq(size) for size in grid), indexing="ij")
    gain = transfer(np.stack(axes, -1), blurs) ** 2
    gain[0, 0] = np.nan
    frequency, analytic = ring_mean(gain, rings=rings)
    fields = filtered_noise(jax.random.split(random_key(seed), count), grid, blurs)
    _, measured = radial_power(_taper(np.asarray(fields, np.float64)), rings=rings)
    return Spectrum(frequency, analytic, measured)


def _taper(fields: np.ndarray) -> np.ndarray:
    """Multiply fields [B, h, w] by a Hann window of mean square 1, which keeps their power."""
    rows, columns = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in fields.shape[1:])
    window = np.outer(rows, columns)
    return fields * window / np.sqrt((window**2).mean())
