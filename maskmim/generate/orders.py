"""Orders of decoding as bricks: scores that decide which guesses of a step are kept.

A function `(log_probability, noise, temperature) -> f32[B, N]`; the guesses with the largest scores
are kept, the others are guessed again in the next step.

log_probability: f32[B, N] of the guessed tokens.
noise:           f32[B, N] standard Gumbel noise, drawn per example.
temperature:     f32[] weight of the noise; it falls to 0 at the last step.
"""

from __future__ import annotations

from maskmim.types import Array


def confident(log_probability: Array, noise: Array, temperature: Array) -> Array:
    """Keep the most probable guesses: log p plus temperature times noise.

    Without noise the likeliest tokens, those of plain surfaces, always come first.
    Source: MaskGIT (arXiv 2202.04200), section 3.2, and mask_by_random_topk of
    libml/parallel_decode.py, google-research/maskgit.
    """
    return log_probability + temperature * noise


def random(log_probability: Array, noise: Array, temperature: Array) -> Array:
    """Keep guesses in a uniformly random order: the baseline for `confident`."""
    return noise
