"""Masks do not depend on the variables by which jax is configured."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests.masks.draw_all import hidden_of
from tests.running import ROOT, as_tests, environment

pytestmark = pytest.mark.full

# Every kind of draw: uniform, normal, integers, coins, permutations, bits, gumbel, loggamma.
SOME = [
    "uniform.",
    "colour.green",
    "bank.",
    "grids.",
    "audio.chunks",
    "spans.",
    "learned.",
    "multiblock.",
]
LIBRARY = {"JAX_ENABLE_X64": "1", "JAX_DEFAULT_PRNG_IMPL": "rbg"}
COMMANDS = {
    **LIBRARY,
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_RANDOM_SEED_OFFSET": "5",
    "JAX_HIGH_DYNAMIC_RANGE_GUMBEL": "1",
}


@pytest.mark.parametrize("prefixes", [SOME, pytest.param([], marks=pytest.mark.slow)])
@pytest.mark.parametrize(("variables", "words"), [(LIBRARY, ()), (COMMANDS, ("pinned",))])
def test_masks_are_the_same_in_every_environment(variables, words, prefixes, tmp_path):
    """Without a command too, where jax's generator or its 64 bits were chosen."""
    file = tmp_path / "there.npz"
    subprocess.run(
        [sys.executable, "-m", "tests.masks.draw_all", str(file), *words, *prefixes],
        check=True,
        env=environment(**as_tests(), **variables),
        cwd=ROOT,
        timeout=1500,
    )
    here = hidden_of(prefixes)
    assert len(here) >= len(SOME)
    with np.load(file, allow_pickle=False) as there:
        for name, hidden in here.items():
            np.testing.assert_array_equal(hidden, there[name], err_msg=name)
