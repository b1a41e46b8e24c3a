"""Orders of decoding as bricks: how much each guess of a step is worth keeping.

A function `(log_probability, noise, temperature) -> f32[B, N]`; the guesses with the largest values
are kept, the others guessed again in the next step.

log_probability: f32[B, N] of the tokens that were guessed.
noise:           f32[B, N] standard Gumbel noise, an example's own.
temperature:     f32[] how much chance has a say; it falls to 0 at the last step.
"""

from __future__ import annotations

from maskmim.types import Array


def confident(log_probability: Array, noise: Array, temperature: Array) -> Array:
    """The surest guesses first: log p plus temperature times noise.

    Without noise the likeliest tokens always come first, which are those of plain surfaces.
    Source: MaskGIT (arXiv 2202.04200), section 3.2, and mask_by_random_topk of
    libml/parallel_decode.py, google-research/maskgit.
    """
    return log_probability + temperature * noise


def random(log_probability: Array, noise: Array, temperature: Array) -> Array:
    """A uniformly random order, whatever the model thinks: what confidence is compared with."""
    return noise
