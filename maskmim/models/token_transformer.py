"""A BERT of picture tokens, as a `TokenModel` value: from codes and a class to logits of codes.

Source: MaskGIT (arXiv 2202.04200), section 3.2; nets/maskgit_transformer.py,
google-research/maskgit; BERT (arXiv 1810.04805).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import FractionBelowOne, Positive
from maskmim.errors import UserError
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.attention import Attend, attention_scores
from maskmim.models.layers.blocks import Attention, Dtype, Norm, scan_blocks
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.init import with_init
from maskmim.models.vit import Stack
from maskmim.training.sharding import Rules, transformer
from maskmim.types import Array, Encoded, Randomness, Tree


class DropoutError(UserError, ValueError):
    """A dropout rate outside [0, 1)."""


class TokenModel(NamedTuple):
    """A transformer of tokens as pure functions.

    mask_id: the id of an unknown token.
    init:    key -> params.
    encode:  (params, i32[B, N] tokens, i32[B] classes, -1 for none, randomness or None) -> Encoded,
             whose prefix is the class's token. Without randomness nothing is dropped.
    logits:  (params, Encoded) -> f32[B, N, codes].
    says:    lines for people.
    """

    mask_id: int
    init: Callable[[Array], Tree]
    encode: Callable[..., Encoded]
    logits: Callable[[Tree, Encoded], Array]
    says: tuple[tuple[str, str], ...]


def rules() -> Rules:
    """Return sharding rules for `config.mesh.rules`: `sharding.transformer` and the vocabulary."""
    return ((r"vocabulary$", (None, "fsdp")), *transformer())


def truncated_normal(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
    """Draw from N(0, 0.02) truncated at two deviations, as BERT does; the deviation is 0.0176."""
    return 0.02 * jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype)


def dropout_factors(
    keys: Array | None, place: int, shape: tuple[int, ...], rate: float
) -> Array | None:
    """Return dropout's factors, 0 or 1 / (1 - rate), as f32[B, *shape]; None drops nothing.

    keys:  [B], one per example, or None without dropout.
    place: number of this dropout among those that share the keys.
    """
    if keys is None or rate == 0:
        return None

    def draw(key: Array) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(key, place), jnp.float32(1.0 - rate), shape)

    return jax.vmap(draw)(keys).astype(jnp.float32) / (1.0 - rate)


def apply_factors(x: Array, factors: Array | None) -> Array:
    """Multiply an array with dropout's factors, in its dtype."""
    return x if factors is None else x * factors.astype(x.dtype)


def attend_with_dropout(query: Array, key: Array, value: Array, *, factors: Array) -> Array:
    """Compute `attention.plain_attention` with weights multiplied by factors f32[B, n, n].

    All heads of an example share the factors; in Flax's attention the whole batch shares them.
    """
    weights = jax.nn.softmax(attention_scores(query, key) / math.sqrt(query.shape[-1]), axis=-1)
    weights = apply_factors(weights, factors[:, None]).astype(value.dtype)
    return jnp.einsum("bhqk,bhkd->bhqd", weights, value)


class TanhMlp(nn.Module):
    """As `layers.blocks.Mlp`, with GELU approximated by tanh, as MaskGIT's weights were trained."""

    hidden: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, n, D] -> [B, n, D]."""
        up = Dense(self.hidden, dtype=self.dtype, name="up")
        down = Dense(x.shape[-1], dtype=self.dtype, name="down")
        return down(nn.gelu(up(x), approximate=True))


class PostNormBlock(nn.Module):
    """Attention and MLP, each added to its input and then normalised; dropout as in BERT."""

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend
    dropout: float

    @nn.compact
    def __call__(self, x: Array, keys: Array | None) -> tuple[Array, None]:
        """Map [B, n, D] -> ([B, n, D], None); keys: [B] of dropout."""
        length, width = x.shape[1:]
        x = constraints.constrain_tokens(x)
        factors = dropout_factors(keys, 0, (length, length), self.dropout)
        attend = self.attend if factors is None else partial(attend_with_dropout, factors=factors)
        mixed, _ = Attention(self.heads, self.dtype, attend, name="attention")(x)
        mixed = apply_factors(mixed, dropout_factors(keys, 1, (length, width), self.dropout))
        x = Norm(self.epsilon, self.dtype, name="norm1")(constraints.constrain_tokens(x + mixed))
        y = TanhMlp(self.hidden, self.dtype, name="mlp")(x)
        y = apply_factors(y, dropout_factors(keys, 2, (length, width), self.dropout))
        return constraints.constrain_tokens(
            Norm(self.epsilon, self.dtype, name="norm2")(x + y)
        ), None


class Transformer(Stack):
    """Embedded tokens with learned positions, blocks, and logits by the same table.

    grid:       (N,), the tokens without the class, which comes first.
    vocabulary: rows of the table.
    codes:      number of the first rows, which can be predicted.
    """

    vocabulary: int
    codes: int
    dropout: float

    def setup(self) -> None:
        """Make the submodules, which both methods use."""
        width = self.size.width
        dense = partial(Dense, dtype=self.dtype)
        self.table = self.param("vocabulary", truncated_normal, (self.vocabulary, width))
        self.positions = self.param("positions", truncated_normal, (1 + self.grid[0], width))
        self.bias = self.param("bias", nn.initializers.zeros, (self.codes,))
        self.norm = Norm(self.epsilon, self.dtype)
        self.blocks = self._stack()
        self.head, self.head_norm = dense(width), Norm(self.epsilon, self.dtype)

    def _stack(self) -> nn.Module:
        size = self.size
        make = scan_blocks(PostNormBlock, depth=size.depth, remat=self.remat, unroll=self.unroll)
        return make(size.heads, size.hidden, self.epsilon, self.dtype, self.attend, self.dropout)

    def encode(self, ids: Array, randomness: Randomness | None) -> Encoded:
        """Encode i32[B, 1 + N], the class first."""
        rows = jnp.take(self.table, ids, axis=0, mode="fill", fill_value=jnp.nan)
        x = constraints.constrain_tokens(self.norm(rows + self.positions[None]))
        depth, keys = self.size.depth, None
        if randomness is not None:
            example_keys = randomness.each("dropout")
            x = apply_factors(x, dropout_factors(example_keys, depth, x.shape[1:], self.dropout))
            fold_in = jax.vmap(jax.random.fold_in, (0, None))
            keys = jax.vmap(fold_in, (None, 0))(example_keys, jnp.arange(depth))
        return Encoded(*constraints.split_tokens(self.blocks(x, keys)[0], 1))

    def logits(self, tokens: Array) -> Array:
        """Map [B, N, D] -> f32[B, N, codes]."""
        x = self.head_norm(
            nn.gelu(self.head(constraints.constrain_tokens(tokens)), approximate=True)
        )
        rows = self.table[: self.codes].astype(self.dtype)
        products = jnp.einsum("bnd,vd->bnv", x, rows, preferred_element_type=jnp.float32)
        return products + self.bias[None, None]

    def __call__(self, ids: Array) -> Array:
        """Run both in turn, for init."""
        return self.logits(self.encode(ids, None).tokens)


def bert(
    codes: int,
    classes: int,
    length: int,
    *,
    variant: str = "24x768x16",
    dropout: FractionBelowOne = 0.1,
    norm_eps: Positive = 1e-12,
    compute: Callable[[], Compute] = compute,
) -> TokenModel:
    """Build MaskGIT's transformer for examples of `length` tokens.

    codes, classes: their numbers.
    variant: depth x width x heads, see `vit.variant`.
    dropout: rate, of attention, of the residual branches and of the embedding.
    compute: see `layers.compute.compute`.
    The vocabulary is codes, classes, no class, unknown; params {'transformer': ...}.
    Raises ModelError for unknown names, DropoutError for a rate outside [0, 1).
    Differences: the official vocabulary has no token for a missing class; its unknown token is id
    -1, for which JAX reads the last row, as here. Logits have a bias for codes alone. The paper
    (section 4.1) says 8 heads, the config of the published weights 16. Each example has its own
    dropout; Flax's attention drops the same weights in all examples.
    """
    if not 0 <= dropout < 1:
        raise DropoutError(f"dropout {dropout}: a share, from 0 to below 1")
    common = vit.stack_fields((length,), norm_eps, compute())
    rows = codes + classes + 2
    sizes = {"size": vit.variant(variant), "vocabulary": rows, "codes": codes}
    module = Transformer(dropout=dropout, **sizes, **common)

    def init(key: Array) -> Tree:
        variables = module.init(key, jnp.zeros((1, 1 + length), jnp.int32))
        return {"transformer": variables["params"]}

    def encode(
        params: Tree, ids: Array, label: Array, randomness: Randomness | None = None
    ) -> Encoded:
        # A class that does not exist reads beyond the table, so that the loss becomes NaN.
        first = jnp.where(label < 0, classes, jnp.where(label < classes, label, rows)) + codes
        ids = jnp.concatenate([first[:, None], ids], axis=1)
        variables = {"params": params["transformer"]}
        return module.apply(variables, ids, randomness, method="encode")

    def logits(params: Tree, encoded: Encoded) -> Array:
        variables = {"params": params["transformer"]}
        return module.apply(variables, encoded.tokens, method="logits")

    words = f"{vit.describe_blocks(module)}, post-norm, dropout {dropout:g}"
    made = TokenModel(rows - 1, init, encode, logits, (("encoder", words),))
    return with_init(made, [(r"kernel$", lambda key, old: truncated_normal(key, old.shape))])
