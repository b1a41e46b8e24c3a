"""Helpers that draw every sampler of the package, with made-up hints where one needs them."""

from __future__ import annotations

import functools
import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.mask_tools.discovery import Sampler, samplers
from maskmim.types import Array, Context, Mask, Randomness, random_key

# Grids by number of axes; every sampler must work on the first of them.
GRIDS = {1: ((64,), (33,)), 2: ((14, 14), (7, 11), (1, 512), (32, 4)), 3: ((8, 14, 14),)}
# The number of examples that hints are made for.
SLOTS = 12

# Each hint from a source of uniform numbers, the number of tokens and the grid.
HINTS = {
    "attention": lambda u, n, grid: u(n) / n,
    "token_loss": lambda u, n, grid: u(n),
    "logits": lambda u, n, grid: 4 * u(n) - 2,
    "features": lambda u, n, grid: u(n, 8) - 0.5,
    "token_attention": lambda u, n, grid: u(16, n) / n,
    "motion": lambda u, n, grid: u(n),
    "flow": lambda u, n, grid: 4 * u(*grid, 2) - 2,
    "labels": lambda u, n, grid: np.floor(8 * u(n)).astype(np.int32),
    "missing": lambda u, n, grid: u(n) < 0.2,
    "padding": lambda u, n, grid: np.arange(n) >= n * (0.4 + 0.6 * u(1)),
    "importance": lambda u, n, grid: u(n),
    "members": lambda u, n, grid: u(n, 6) < 0.3,
    "region": lambda u, n, grid: u(n) < 0.5,
    "noise_bank": None,
}


def standalone_samplers() -> list[Sampler]:
    """Return the samplers that take no required keyword but a ratio."""
    return [each for each in samplers() if set(each.takes) <= {"ratio"}]


def cases() -> list[tuple[Sampler, tuple[int, ...]]]:
    """Return every such sampler with every grid that it serves."""
    return [
        (each, grid) for each in standalone_samplers() for axes in each.axes for grid in GRIDS[axes]
    ]


def everyday_cases() -> list[tuple[Sampler, tuple[int, ...]]]:
    """Return every such sampler with its main grid and, if it serves two axes, an odd one."""
    odd = GRIDS[2][1]
    main = [(each, main_grid(each)) for each in standalone_samplers()]
    return main + [(each, odd) for each in standalone_samplers() if 2 in each.axes]


def main_grid(sampler: Sampler) -> tuple[int, ...]:
    """Return the one grid that most tests use: of two axes if the sampler serves them."""
    return GRIDS[2 if 2 in sampler.axes else sampler.axes[0]][0]


@functools.cache
def hint(name: str, grid: tuple[int, ...]) -> np.ndarray:
    """Make up a hint for `SLOTS` examples; a bank of noise has no examples."""
    state = np.random.RandomState(zlib.crc32(name.encode()))
    if name == "noise_bank":
        return state.standard_normal((3, 20, 520)).astype(np.float32)
    uniform = lambda *shape: state.rand(SLOTS, *shape).astype(np.float32)  # noqa: E731
    return HINTS[name](uniform, math.prod(grid), grid)


def context_at(
    sampler: Sampler, grid: tuple[int, ...], slots: np.ndarray, progress: float = 0.5
) -> Context:
    """Return a context of one stream with the hints of a sampler for examples at given slots."""
    arrays = {name: hint(name, grid) for name in sampler.needs}
    hints = {
        name: jnp.asarray(value if name == "noise_bank" else value[slots])
        for name, value in arrays.items()
    }
    return Context({}, {"tokens": grid}, hints, progress)


# Hundreds of programs are compiled for a few draws each: the lowest compiler effort is fastest.
QUICK = {"xla_backend_optimization_level": 0}


@functools.partial(jax.jit, static_argnames=("sampler", "grid", "ratio"), compiler_options=QUICK)
def _draw(sampler, grid, ratio, randomness: Randomness, hints: dict[str, Array]) -> Mask:
    context = Context({}, {"tokens": grid}, hints, 0.5)
    options = {"ratio": ratio} if "ratio" in sampler.takes else {}
    return sampler.function(randomness, context, **options)


def draw(sampler: Sampler, grid: tuple[int, ...], *, ratio: float, slots, seed: int = 0):
    """Draw masks at given slots under jit, as numpy arrays: a tuple with one mask for each view."""
    slots = np.asarray(slots)
    hints = context_at(sampler, grid, slots).hints
    randomness = Randomness(random_key(seed), jnp.asarray(slots, jnp.uint32))
    result = _draw(sampler, grid, ratio, randomness, dict(hints))
    masks = (result,) if isinstance(result, Mask) else result
    return tuple(jax.tree.map(np.asarray, mask) for mask in masks)
