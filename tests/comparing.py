"""The comparison of arrays with those of another implementation."""

import numpy as np

from tests.tolerances import PARITY


def close(ours, theirs, tolerance=PARITY, name=""):
    """Assert that arrays differ by little of the largest value of theirs; return by how much."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, (name, ours.shape, theirs.shape)
    off = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-6)
    assert off <= tolerance, (name, off)
    return off
