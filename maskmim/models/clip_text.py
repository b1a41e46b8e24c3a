"""CLIP's text transformer, and the learned temperature, as learned functions of `config.calls`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Positive, PositiveInt
from maskmim.models.clip_vision import ClipBlock
from maskmim.models.layers import constraints
from maskmim.models.layers.attention import causal_attention
from maskmim.models.layers.blocks import Dtype, Norm, scan_blocks, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.patches import gather
from maskmim.models.vit import Size
from maskmim.models.vit import variant as size_of
from maskmim.types import Array, LearnedFunction, Tree


class TextEncoder(nn.Module):
    """Table, learned positions, causal blocks, a last norm, and a projection of the end's token.

    vocabulary: rows of the table, the last of which is the end of a text. values: that come out.
    """

    vocabulary: int
    size: Size
    values: int
    epsilon: float
    dtype: Dtype
    remat: str
    unroll: bool

    @nn.compact
    def __call__(self, indices: Array) -> Array:
        """Map i32[B, L] -> f32[B, values]."""
        width, length = self.size.width, indices.shape[1]
        table = nn.Embed(
            self.vocabulary, width, embedding_init=small_normal, dtype=self.dtype, name="embed"
        )
        start = nn.initializers.normal(0.01)
        positions = self.param("word_positions", start, (length, width)).astype(self.dtype)
        x = constraints.embed_tokens(table, indices) + positions.reshape(1, length, width)
        shape = self.size.heads, self.size.hidden, self.epsilon, self.dtype, causal_attention
        options = {"remat": self.remat, "unroll": self.unroll}
        make = scan_blocks(ClipBlock, depth=self.size.depth, **options)
        x, _ = make(*shape, (), name="blocks")(x, None)
        # The first end: what follows it is padding, which it does not see.
        end = jnp.argmax(indices == self.vocabulary - 1, axis=1)
        last = gather(constraints.constrain_channels(constraints.constrain_tokens(x)), end[:, None])
        last = Norm(self.epsilon, self.dtype, name="norm")(last[:, 0])
        project = Dense(
            self.values, use_bias=False, kernel_init=xavier, dtype=self.dtype, name="project"
        )
        return constraints.constrain_examples(project(last)).astype(jnp.float32)


def clip_text(
    width: int,
    *,
    vocabulary: PositiveInt = 49_408,
    length: PositiveInt = 77,
    variant: str = "12x512x8",
    values: PositiveInt = 512,
    norm_eps: Positive = 1e-5,
    compute: Callable[[], Compute] = compute,
) -> LearnedFunction:
    """Return CLIP's text transformer, whose output lies where pictures are projected to.

    vocabulary: of the texts' indices; the last one is the end of a text, at which it is read.
    length:  of texts, with padding behind the end.
    variant: as of `vit.variant`. values: that come out, those of the projection of pictures.
    norm_eps, compute: as of `masked_vit.vit_mae`. width, of the pictures' encoder, is not used.
    Call: (params, i32[B, length]) -> f32[B, values], without normalisation.
    params: {'embed', 'word_positions', 'blocks', 'norm', 'project'}.
    Raises ModelError for an unknown variant, and when called for texts of another length.
    Source: CLIP (arXiv 2103.00020), clip/model.py of openai/CLIP: causal attention, quick GELU,
    norms before, tokens and positions from N(0, 0.02) and N(0, 0.01). Differences: kernels start as
    Xavier's uniform; the end is the first index of the vocabulary's last row, there the place of
    the highest index, which is the same; without an end the first token is read.
    """
    how, size = compute(), size_of(variant)
    options = {"dtype": how.dtype, "remat": how.remat, "unroll": how.unroll}
    module = TextEncoder(vocabulary, size, values, norm_eps, **options)

    def init(key: Array) -> Tree:
        return module.init(key, jnp.zeros((1, length), jnp.int32))["params"]

    def call(params: Tree, indices: Array) -> Array:
        if indices.shape[1:] != (length,):
            raise ModelError(
                f"a text encoder for {length} indices gets {indices.shape[1:]}: set its `length` "
                "under config.calls to the shape of the texts in input.fields"
            )
        return module.apply({"params": params}, indices.astype(jnp.int32))

    words = f"{size.depth} causal blocks, width {size.width}, {vocabulary:,} words, {values} values"
    return LearnedFunction(init, call, words)


def inverse_temperature(
    width: int, *, start: Positive = 1 / 0.07, most: Positive = 100.0
) -> LearnedFunction:
    """Return a learned factor of cosines, the inverse of a temperature.

    start: its first value. most: its largest. width is not used.
    Call: (params) -> f32[]. params: {'scale': f32[]}, its logarithm.
    Source: CLIP (arXiv 2103.00020), sections 2.3 and 2.5. Difference: CLIP sets a logarithm beyond
    the largest back after each update; here it counts as the largest, and no gradient pushes it
    further, so that a step beyond changes nothing and the way back stays open.
    """

    def init(key: Array) -> Tree:
        return {"scale": jnp.float32(math.log(start))}

    def call(params: Tree) -> Array:
        return jnp.exp(held_below(params["scale"], math.log(most)))

    return LearnedFunction(init, call, f"inverse temperature from {start:.3g}, at most {most:g}")


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def held_below(x: Array, most: float) -> Array:
    """Return the smaller of x f32[] and a bound; beyond it only gradients that lower x pass."""
    return jnp.minimum(x, jnp.float32(most))


def _held(x: Array, most: float) -> tuple[Array, Array]:
    return held_below(x, most), x >= jnp.float32(most)


def _held_backward(most: float, beyond: Array, change: Array) -> tuple[Array]:
    return (jnp.where(beyond & (change < 0), jnp.zeros_like(change), change),)


held_below.defvjp(_held, _held_backward)
