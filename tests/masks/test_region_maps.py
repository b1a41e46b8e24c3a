"""Label maps of pixels to tokens, against counting in numpy; FSFM's regions: test_regions."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.masks.core import MaskError
from maskmim.masks.region_maps import token_counts, token_labels, token_members


def cells(shape, patch, count=5):
    """Make a label map and its tokens, cut out one by one in row order."""
    labels = np.random.RandomState(0).randint(0, count, shape).astype(np.int32)
    grid = [size // side for size, side in zip(shape[1:], patch, strict=True)]
    tokens = []
    for place in np.ndindex(*grid):
        window = [slice(p * side, (p + 1) * side) for p, side in zip(place, patch, strict=True)]
        tokens.append(labels[(slice(None), *window)].reshape(shape[0], -1))
    return labels, np.stack(tokens, axis=1)


@pytest.mark.parametrize(
    ("shape", "patch"), [((3, 8, 12), (4, 3)), ((2, 4, 6, 8), (2, 3, 2)), ((2, 12), (4,))]
)
def test_tokens_hold_the_labels_of_their_pixels(shape, patch):
    labels, tokens = cells(shape, patch)
    counts = (tokens[..., None] == np.arange(5)).sum(2)
    label_map = jnp.asarray(labels)
    np.testing.assert_array_equal(token_counts(label_map, patch, regions=5), counts)
    np.testing.assert_array_equal(token_labels(label_map, patch, regions=5), counts.argmax(-1))
    np.testing.assert_array_equal(token_members(label_map, patch, regions=5), counts > 0)


@pytest.mark.parametrize("patch", [(4, 5), (4,), (16, 12)])
def test_patches_must_tile_the_map(patch):
    with pytest.raises(MaskError, match="do not tile"):
        token_labels(jnp.zeros((1, 8, 12), jnp.int32), patch, regions=2)
