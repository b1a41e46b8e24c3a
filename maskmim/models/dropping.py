"""A ViT that leaves out, on its way, the tokens that are most like the mean of their example."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from maskmim.config.ranges import (
    FractionBelowOne,
    NonNegativeInt,
    Positive,
    PositiveFraction,
    Sizes,
)
from maskmim.masks import core
from maskmim.models import vit
from maskmim.models.encoder_only import NoHeads
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Blocks
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.patches import gather
from maskmim.models.layers.posembed import FIXED, Positions
from maskmim.models.net import picture_net, token_grid
from maskmim.models.vit import Encoder
from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array, Net, Randomness, Spec


class DroppingEncoder(Encoder):
    """A ViT that goes on with fewer of the tokens that entered, in a few static steps.

    drops: (block, share): before this block, from 0, so large a share of the tokens that entered
           is left, those least like the mean token of their example.
    Whole examples, without a mask, keep all their tokens, as in a plain ViT. With a mask captures
    are those of the blocks behind the last drop, and `Encoded.kept` says which tokens are left.
    """

    drops: tuple[tuple[int, float], ...] = ()

    def _run_blocks(
        self,
        x: Array,
        visible: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> tuple[Array, Mapping[str, Array]]:
        if visible is None or self.is_initializing():
            return super()._run_blocks(x, visible, capture, randomness)
        factors = drop_path_factors(randomness, depth=self.size.depth, rate=self.drop_path)
        prefix = x.shape[1] - visible.shape[1]
        kept = jnp.broadcast_to(jnp.arange(visible.shape[1], dtype=jnp.int32), visible.shape)
        ends = [block for block, _ in self.drops] + [self.size.depth]
        x = self._segment(0, ends[0], x, (), factors)[0]
        captured: Mapping[str, Array] = {}
        for (begin, share), end in zip(self.drops, ends[1:], strict=True):
            head, tokens = constraints.split_tokens(x, prefix)
            places = most_unlike_mean(tokens, max(1, round(share * visible.shape[1])))
            kept = jnp.take_along_axis(kept, places, axis=1)
            x = constraints.concat_tokens(head, gather(tokens, places))
            wanted = capture if end == self.size.depth else ()
            x, captured = self._segment(begin, end, x, wanted, factors)
        return x, {**captured, "kept": kept}

    def _segment(
        self,
        begin: int,
        end: int,
        x: Array,
        capture: tuple[str, ...],
        factors: Array | None,
    ) -> tuple[Array, Mapping[str, Array]]:
        """Run the blocks from `begin` on, before `end`, with their part of the parameters."""
        if begin == end:
            return x, {}
        size = self.size
        shape = end - begin, size.heads, size.hidden, self.epsilon, self.dtype
        blocks = Blocks(*shape, self.attend, self.remat, self.unroll, parent=None)
        params = jax.tree.map(lambda leaf: leaf[begin:end], self.variables["params"]["stack"])
        keep = None if factors is None else factors[begin:end]
        return blocks.apply({"params": params}, x, capture, keep)


def most_unlike_mean(tokens: Array, count: int) -> Array:
    """Return the places of the tokens with the smallest cosine to their mean, ascending.

    [B, n, D] -> i32[B, count]; of equal cosines the lower place stays. No gradient passes.
    """
    units = l2_normalise(jax.lax.stop_gradient(tokens).astype(jnp.float32))
    mean = l2_normalise(jnp.mean(jax.lax.stop_gradient(tokens).astype(jnp.float32), axis=1))
    exact = jax.lax.Precision.HIGHEST
    cosines = jnp.einsum("bnd,bd->bn", units, mean, precision=exact)
    return core.positions(core.keep_strongest(-cosines, count), count)


def vit_dropping(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Sizes = (16, 16),
    positions: Positions = "sincos",
    drop_before: tuple[NonNegativeInt, ...] = (4, 8),
    left: tuple[PositiveFraction, ...] = (0.7, 0.5),
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a plain ViT without a decoder that leaves out redundant tokens on its way.

    drop_before: numbers of blocks, from 0 and rising, before which tokens are left out: those most
                 like the mean token of their example, by cosine.
    left:        for each of them the share of the tokens that entered which is left, falling.
    Other keywords are those of `encoder_only.vit_encoder`; there is a class token, which stays.
    Evaluation encodes whole examples, of which all tokens are kept. For the sampler
    `masks.roles.everything`, which hides nothing.
    params: {'encoder': ...}, those of a plain ViT.
    Raises ModelError for steps that do not fit, sizes that do not divide, names that are unknown.
    Source: the progressive redundant token masking of Hybrid Distill (arXiv 2306.15876), by its
    abstract: its code was not released, and the blocks and shares of the defaults are ours.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    size = vit.variant(variant)
    check_drops(drop_before, left, size.depth)
    vit.check_positions(positions, (*FIXED, "learned"))
    encoder = DroppingEncoder(
        size=size,
        class_token=True,
        registers=0,
        positions=positions,
        mask_token=False,
        drop_path=drop_path,
        drops=tuple(zip(drop_before, left, strict=True)),
        **common,
    )
    steps = ", ".join(f"{share:.0%} of the tokens from block {n}" for n, share in encoder.drops)
    return picture_net(
        spec,
        patch=patch,
        width=size.width,
        encoder=encoder,
        predictor=NoHeads(),
        says=(("encoder", f"{vit.describe_blocks(encoder)}, {steps}"),),
    )


def check_drops(drop_before: tuple[int, ...], left: tuple[float, ...], depth: int) -> None:
    """Raise ModelError unless blocks rise within the depth and shares fall, one for each."""
    rising = all(a < b for a, b in itertools.pairwise((*drop_before, depth)))
    falling = all(a >= b for a, b in itertools.pairwise(left))
    if not drop_before or len(drop_before) != len(left) or not rising or not falling:
        raise ModelError(
            f"model.drop_before={drop_before} and model.left={left} do not fit {depth} blocks: "
            "give rising numbers of blocks below the depth, and as many shares that do not rise"
        )
