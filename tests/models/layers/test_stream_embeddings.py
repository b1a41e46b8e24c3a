"""How indices of classes become tokens, those of no class among them."""

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.models.layers.stream_embeddings import ClassEmbedding


def test_an_index_of_no_class_has_a_vector_of_zeros():
    module = ClassEmbedding(classes=3, size=2, width=5, dtype=jnp.float32)
    patches = jnp.array([[[0, 1], [2, 255], [3, -1], [2**31 - 1, 1]]], jnp.int32)
    params = module.init(jax.random.key(0), patches)
    kernel = np.asarray(params["params"]["patches"]["kernel"])
    table = np.vstack([params["params"]["classes"]["embedding"], np.zeros((1, 2))])
    known = np.array([[[0, 1], [2, 3], [3, 3], [3, 1]]])
    expected = table[known].reshape(1, 4, 4) @ kernel
    np.testing.assert_allclose(module.apply(params, patches), expected, atol=1e-6)
    gradients = jax.grad(lambda given: module.apply(given, patches).sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
