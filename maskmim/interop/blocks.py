"""Entries of transformer blocks, for any names of their parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from maskmim.interop.layout import Entry, kernel, linear, norm, vector


class BlockNames(NamedTuple):
    """Names of the parts of a block in another layout.

    qkv: one name of the fused projection, or three, of query, key and value.
    """

    norm1: str
    qkv: tuple[str, ...]
    out: str
    norm2: str
    up: str
    down: str


def block_entries(names: BlockNames, their_name: str, path: str, layer: int) -> Iterator[Entry]:
    """Yield the entries of one block, which is a layer of our stacked blocks at `path`."""
    at = (layer,)
    yield from norm(f"{their_name}.{names.norm1}", f"{path}/norm1", at)
    yield from _qkv_entries(names.qkv, their_name, f"{path}/attention/qkv", layer)
    yield from linear(f"{their_name}.{names.out}", f"{path}/attention/out", at, inputs=2)
    yield from norm(f"{their_name}.{names.norm2}", f"{path}/norm2", at)
    yield from linear(f"{their_name}.{names.up}", f"{path}/mlp/up", at)
    yield from linear(f"{their_name}.{names.down}", f"{path}/mlp/down", at)


def _qkv_entries(names: tuple[str, ...], their_name: str, path: str, layer: int) -> Iterator[Entry]:
    if len(names) == 1:
        yield from linear(f"{their_name}.{names[0]}", path, (layer,))
        return
    for role, name in enumerate(names):
        kernel_at, bias_at = (layer, slice(None), role), (layer, role)
        yield kernel(f"{their_name}.{name}.weight", f"{path}/kernel", kernel_at)
        yield vector(f"{their_name}.{name}.bias", f"{path}/bias", bias_at)


def stack_entries(names: BlockNames, their_name: str, path: str, depth: int) -> Iterator[Entry]:
    """Yield the entries of `depth` blocks, which are called `their_name` and a number."""
    for layer in range(depth):
        yield from block_entries(names, f"{their_name}.{layer}", path, layer)
