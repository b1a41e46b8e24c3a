"""Masked autoencoders with a Vision Transformer, as `Net` values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from maskmim.models import attention
from maskmim.models.layers import REMAT
from maskmim.models.mae_decoder import Decoder
from maskmim.models.net import picture_net, token_grid
from maskmim.models.vit import Encoder, ModelError, Size, checked, variant
from maskmim.types import Net, Spec


def vit_mae(
    spec: Spec,
    *,
    variant: str = "B",
    patch: tuple[int, int] = (16, 16),
    class_token: bool = True,
    registers: int = 0,
    positions: str = "sincos",
    mask_token: bool = False,
    decoder_depth: int = 8,
    decoder_width: int = 512,
    decoder_heads: int = 16,
    heads: Mapping[str, int | None] = {"pixels": None},
    norm_eps: float = 1e-6,
    drop_path: float = 0.0,
    remat: str = "none",
    unroll: bool = False,
    dtype: str = "float32",
) -> Net:
    """A ViT encoder over visible patches with MAE's decoder.

    variant:    a key of models.vit.VARIANTS, or depth x width x heads such as '12x768x12', see
                models.vit.variant.
    patch:      (height, width) pixels; both must divide the picture's.
    positions:  'sincos' or 'learned', of the encoder; the decoder's are fixed.
    mask_token: gives the encoder an embedding that fills tokens which are hidden and visible; a
                sampler that makes such tokens needs it, else their content is seen unnoticed.
    heads:      {name: values per token}; None stands for the values of a patch.
    drop_path:  rate at which the encoder's last block is left out for an example, see
                models.drop_path; evaluation drops nothing.
    remat:      what the backward pass recomputes, a key of models.layers.REMAT.
    unroll:     runs the layers one after another instead of in a loop: same numbers, slower to
                compile; meant for counting FLOPs, as XLA counts the body of a loop once.
    dtype:      of the computation, 'float32' or 'bfloat16'; parameters and norms stay float32.
    params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: MAE (arXiv 2111.06377), models_mae.py.
    """
    grid = token_grid(spec.size, patch)
    size, decoder_size = _sizes(variant, decoder_depth, decoder_width, decoder_heads)
    _check_names(positions, remat)
    values = patch[0] * patch[1] * spec.channels
    common = {
        "grid": grid,
        "epsilon": norm_eps,
        "dtype": jnp.dtype(dtype),
        "attend": attention.plain if unroll else attention.fastest(),
        "remat": remat,
    }
    encoder = Encoder(
        size=size,
        class_token=class_token,
        registers=registers,
        positions=positions,
        mask_token=mask_token,
        drop_path=drop_path,
        unroll=size.depth if unroll else 1,
        **common,
    )
    widths = {name: values if count is None else count for name, count in heads.items()}
    steps = decoder_depth if unroll else 1
    decoder = Decoder(size=decoder_size, heads=widths, unroll=steps, **common)
    return picture_net(
        spec,
        patch=patch,
        grid=grid,
        width=size.width,
        encoder=encoder,
        predictor=decoder,
        says=_says(encoder, decoder),
    )


def _sizes(name: str, depth: int, width: int, heads: int) -> tuple[Size, Size]:
    return variant(name), checked(Size(depth, width, heads, 4 * width))


def _check_names(positions: str, remat: str) -> None:
    if positions not in ("sincos", "learned"):
        raise ModelError(f"unknown positions {positions!r}: use 'sincos' or 'learned'")
    if remat not in REMAT:
        raise ModelError(f"unknown remat policy {remat!r}: use one of {', '.join(REMAT)}")


def _says(encoder: Encoder, decoder: Decoder) -> tuple[tuple[str, str], ...]:
    def words(size: Size, dtype: Any) -> str:
        return f"{size.depth} blocks, width {size.width}, {size.heads} heads, {dtype}"

    extras = [word for word, there in (("class token", encoder.class_token),) if there]
    extras += [f"{encoder.registers} registers"] if encoder.registers else []
    heads = ", ".join(f"{name} {values}" for name, values in decoder.heads.items())
    return (
        ("encoder", ", ".join([words(encoder.size, encoder.dtype), *extras])),
        ("decoder", f"{words(decoder.size, decoder.dtype)}, heads: {heads} values"),
    )
