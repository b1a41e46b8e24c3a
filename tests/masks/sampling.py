"""Helpers that draw masks in tests: samplers by name, contexts, maps of visible tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.mask_tools.statistics import visible_map
from maskmim.masks import bank, colour, uniform
from maskmim.types import Context, Mask, Randomness

COLOURS: dict[str, Callable[..., Mask]] = {
    name: getattr(colour, name) for name in ("red", "green", "white", "purple", "blue")
}
ANY_GRID = {"random": uniform.random, **COLOURS}
SAMPLERS = {**ANY_GRID, "bank": functools.partial(bank.cropped, chunk=5)}


def context_of(grid: tuple[int, ...]) -> Context:
    """Return a context of one stream, with a small bank of noise."""
    noise = np.random.RandomState(0).standard_normal((3, 20, 20)).astype(np.float32)
    return Context({}, {"tokens": grid}, {"noise_bank": jnp.asarray(noise)})


@functools.partial(jax.jit, static_argnames=("sampler", "grid", "ratio", "options"))
def draw(
    randomness: Randomness,
    *,
    sampler: Callable[..., Mask],
    grid: tuple[int, ...],
    ratio: float,
    options: tuple[tuple[str, object], ...] = (),
) -> Mask:
    """Draw masks of a sampler under jit."""
    return sampler(randomness, context_of(grid), ratio=ratio, **dict(options))


@functools.cache
def maps(name: str, grid: tuple[int, ...], count: int, ratio: float = 0.75, seed: int = 7):
    """Draw `count` maps bool[count, *grid] of visible tokens by the sampler called `name`."""
    randomness = Randomness.of(jax.random.key(seed), count)
    mask = draw(randomness, sampler=SAMPLERS[name], grid=grid, ratio=ratio)
    return visible_map(np.asarray(mask.visible), grid)
