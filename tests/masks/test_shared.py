"""One set of hidden tokens for the whole batch: MSN's dropped patches."""

import jax
import numpy as np
import pytest

from maskmim.masks.core import MaskError
from maskmim.masks.uniform import shared, shared_counts
from maskmim.types import Context, Randomness

CONTEXT = Context({}, {"image": (14, 14)}, {})


def hidden(seed=0, slots=range(3)):
    slots = np.asarray(slots, np.uint32)
    return np.asarray(shared(Randomness(jax.random.key(seed), slots), CONTEXT, ratio=0.15).hidden)


@pytest.mark.proves(102, "one set of 166 of 196 visible patches for the batch, another each step")
def test_all_examples_show_the_same_tokens():
    first = hidden()
    assert first.shape == (3, 196) and (first == first[0]).all() and first[0].sum() == 30
    np.testing.assert_array_equal(hidden(slots=[7, 1]), first[:2])
    assert (hidden(seed=1)[0] != first[0]).any()
    often = np.mean([hidden(seed=seed, slots=[0])[0] for seed in range(300)], axis=0)
    assert abs(often.mean() - 30 / 196) < 1e-6 and often.min() > 0.05 and often.max() < 0.3


def test_counts_are_rounded_as_officially():
    assert shared_counts((14, 14), ratio=0.15) == (166, 30)
    assert shared_counts((10,), ratio=0.9) == (1, 9)
    for ratio in (0.0, 1.0, 0.99):
        with pytest.raises(MaskError, match="at least one must be hidden"):
            shared_counts((10,), ratio=ratio)
