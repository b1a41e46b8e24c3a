"""What the official MaskGIT and ours are both given: sizes, inputs, parameters, noise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.models.critic import stylegan
from maskmim.models.token_transformer import bert
from maskmim.models.vq_autoencoder import vq_autoencoder
from maskmim.tree_paths import named_leaves
from maskmim.types import Spec

# Decoding.
EXAMPLES, TOKENS, CODES, STEPS, TEMPERATURE = 3, 16, 11, 8, 4.5
# The transformer.
CLASSES, DEPTH, WIDTH, HEADS = 3, 2, 16, 2
# Numbers of steps and of unknown tokens that the schedule is compared at.
TABLE_STEPS, TABLE_TOKENS = range(1, 33), (1, 2, 16, 49, 256, 1024)

PICTURE = Spec((8, 8), 3, (0.0,) * 3, (1.0,) * 3)
AUTOENCODER = {"width": 32, "levels": (1, 2), "blocks": 1, "codes": 8, "codes_width": 6}
autoencoder = partial(vq_autoencoder, PICTURE, **AUTOENCODER)
critic = partial(stylegan, PICTURE)
transformer = partial(bert, CODES, CLASSES, TOKENS, variant=f"{DEPTH}x{WIDTH}x{HEADS}")


def params_of(init, scale: float):
    """Parameters that are the same everywhere: norms near 1, all else around 0."""
    shapes = jax.eval_shape(init, jax.random.key(0))
    rng = np.random.default_rng(0)
    made = [
        rng.normal(name.endswith("/scale"), scale, leaf.shape).astype(np.float32)
        for name, leaf in named_leaves(shapes)
    ]
    return jax.tree.unflatten(jax.tree.structure(shapes), made)


def pictures() -> np.ndarray:
    """Two pictures f32[2, 8, 8, 3] in [0, 1]."""
    return np.random.default_rng(1).uniform(size=(2, 8, 8, 3)).astype(np.float32)


def sequences(unknown: int) -> np.ndarray:
    """Tokens i32[3, 16]: one all unknown, one partly, one but for a single token known."""
    ids = np.random.default_rng(2).integers(0, CODES, (EXAMPLES, TOKENS)).astype(np.int32)
    ids[0], ids[1, 3:13], ids[2, 5] = unknown, unknown, unknown
    return ids


def noise(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Gumbel noise of a step: of the guesses f32[3, 16, 11] and of the order f32[3, 16]."""
    rng = np.random.default_rng(100 + step)
    shapes = (EXAMPLES, TOKENS, CODES), (EXAMPLES, TOKENS)
    return tuple(rng.gumbel(size=shape).astype(np.float32) for shape in shapes)


def toy_logits(ids):
    """A model of neighbours: i32[B, N] -> f32[B, N, 11]; id -1 or 11 for unknown."""
    rng = np.random.default_rng(3)
    places = rng.normal(size=(TOKENS, CODES)).astype(np.float32)
    table = jnp.asarray(rng.normal(size=(CODES + 1, CODES)).astype(np.float32))
    return places + jnp.roll(table[ids], 1, axis=1) - jnp.roll(table[ids], -2, axis=1)


def smoothed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits f32[3, 16, 11], codes i32[3, 16] and which tokens count f32[3, 16]."""
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 3, (EXAMPLES, TOKENS, CODES)).astype(np.float32)
    codes = rng.integers(0, CODES, (EXAMPLES, TOKENS)).astype(np.int32)
    counted = (rng.uniform(size=codes.shape) < np.array([[0.1], [0.5], [0.9]])).astype(np.float32)
    counted[:, 0] = 1.0
    return logits, codes, counted
