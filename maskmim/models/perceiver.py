"""Perceivers: learnt latents read the tokens of any input once, positions read the latents.

Source: Perceiver IO (arXiv 2107.14795) in the form of SMA (arXiv 2402.14789), modeling_sma.py,
Johnathan-Xie/sma.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, Positive, PositiveInt, Sizes
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Norm, scan_blocks
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.encoder import BaseEncoder
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import dense_heads, describe_heads
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.patches import patchify
from maskmim.models.layers.reading_blocks import ReadingBlock
from maskmim.models.layers.token_embedding import EMBEDDING_EPS, TokenEmbedding
from maskmim.models.net import picture_net, token_grid
from maskmim.models.text_net import check_indices, of_indices
from maskmim.models.vit import Size, Stack
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec, Tree


class LatentEncoder(BaseEncoder, Stack):
    """Latents that read the visible tokens in one block, and blocks of the latents alone.

    latents:    how many. read_heads: heads of the block that reads.
    embedding:  width of the tokens. vocabulary: see `TokenEmbedding`.
    There is no norm behind the last block.
    """

    latents: int
    read_heads: int
    embedding: int
    vocabulary: int

    def setup(self) -> None:
        """Make the parts, which both methods use."""
        size = self.size
        self.start = self.param("latents", small_normal, (self.latents, size.width))
        self.tokens = TokenEmbedding(
            math.prod(self.grid), self.embedding, self.vocabulary, self.dtype, name="tokens"
        )
        fields = size.width, size.hidden, self.epsilon, self.dtype, self.attend
        self.read = ReadingBlock(self.read_heads, *fields)
        loop = scan_blocks(ReadingBlock, depth=size.depth, remat=self.remat, unroll=self.unroll)
        self.blocks = loop(size.heads, *fields)

    def _encode(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        seen = self.tokens(patches, visible)
        latents, _ = self.read(self._latents(len(patches)), seen)
        latents, _ = self.blocks(latents)
        return Encoded(latents[:, :0], latents)

    def reads(self, patches: Array) -> Array:
        """Return the attention of the latents to all tokens, over heads: f32[B, latents, N]."""
        return self.read.weights(self._latents(len(patches)), self.tokens(patches, None))

    def _latents(self, examples: int) -> Array:
        start = jnp.asarray(self.start, self.dtype)
        return constraints.constrain_tokens(jnp.broadcast_to(start, (examples, *start.shape)))


class PositionDecoder(Stack):
    """Learnt positions of the predicted tokens that read the latents in one block.

    heads: {name: values}; a head is a dense layer.
    Positions do not see each other, so that those of other tokens are not computed.
    """

    heads: Mapping[str, int]

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from the latents and the mask."""
        shape = math.prod(self.grid), self.size.width
        table = jnp.asarray(self.param("positions", small_normal, shape), self.dtype)
        queries = table.at[mask.predict].get(mode="promise_in_bounds")
        seen = Norm(self.epsilon, self.dtype, name="norm_seen")(encoded.tokens)
        _, width, heads, hidden = self.size
        fields = heads, width, hidden, self.epsilon, self.dtype, self.attend
        x, _ = ReadingBlock(*fields, residual=False, name="read")(queries, seen)
        x = Norm(EMBEDDING_EPS, self.dtype, name="norm")(x)
        return dense_heads(self.heads, x, self.dtype, start=small_normal)


def perceiver(
    spec: Spec,
    *,
    patch: Sizes = (1,),
    latents: PositiveInt = 512,
    width: PositiveInt = 1024,
    depth: Depth = 6,
    heads: PositiveInt = 8,
    read_heads: PositiveInt = 1,
    embedding: PositiveInt = 256,
    decoder_width: PositiveInt = 256,
    decoder_heads: PositiveInt = 1,
    norm_eps: Positive = 1e-5,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a Perceiver of amounts or of indices, which knows nothing of the kind of input.

    patch:      size of a token along each axis of the input; 1 each as in the source.
    latents, width, depth, heads: number of latents, and sizes of the blocks between them.
    read_heads: of the block in which the latents read the tokens.
    embedding:  width of a token. decoder_width, decoder_heads: of the block of positions.
    norm_eps:   of all norms but those of embedded tokens and before the heads (EMBEDDING_EPS).
    MLPs are as wide as their block. Defaults are those of SMAConfig, configuration_sma.py.

    The head 'values' gives f32[B, P, patch values], of indices 'tokens' f32[B, P, classes].
    `Encoded.tokens` f32[B, latents, width] are the latents: they stand for no place, their number
    does not depend on the mask. Hidden tokens are left out, where the official code sets their
    logits to -inf: the same numbers. `Net.calls["reads"]`, (params, inputs) -> f32[B, latents, N],
    is the attention of the latents to all tokens after its softmax, over heads.
    params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for sizes that do not divide, and for indices with another patch than 1.
    Differences: attention and MLPs have no biases, as in SMAConfig; dropout, 0 there, dropped paths
    and blocks that repeat with shared weights are left out.
    """
    if spec.classes:
        check_indices(spec)
        if patch != (1,):
            raise ModelError(f"a token of indices is one index, but patch is {patch}: use (1,)")
    grid = token_grid(spec.size, patch)
    how = vit.stack_fields(grid, norm_eps, compute())
    for count, part in ((heads, "the latents"), (read_heads, "the reading of tokens")):
        vit.check_size(Size(depth, width, count, width), part)
    encoder = LatentEncoder(
        size=Size(depth, width, heads, width),
        latents=latents,
        read_heads=read_heads,
        embedding=embedding,
        vocabulary=spec.classes,
        **how,
    )
    amounts = {"values": math.prod(patch) * spec.channels}
    decoder = PositionDecoder(
        size=vit.check_size(Size(1, decoder_width, decoder_heads, decoder_width), "the decoder"),
        heads={"tokens": spec.classes} if spec.classes else amounts,
        **how,
    )
    words = f"{latents} latents read tokens of width {embedding}, {vit.describe_blocks(encoder)}"
    said = f"{vit.describe_blocks(decoder)}, heads: {describe_heads(decoder.heads)} values"
    net = picture_net(
        spec,
        patch=patch,
        width=width,
        encoder=encoder,
        predictor=decoder,
        says=(("encoder", words), ("decoder", said)),
    )

    def reads(params: Tree, inputs: Array) -> Array:
        patches = constraints.constrain_examples(patchify(inputs, patch))
        return encoder.apply({"params": params["encoder"]}, patches, method=encoder.reads)

    net = net._replace(calls={"reads": reads})
    return of_indices(net, spec) if spec.classes else net
