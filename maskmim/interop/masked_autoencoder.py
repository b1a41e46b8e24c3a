"""Loading and writing masked autoencoders, for any layout that a `Layout` describes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from maskmim.interop import layout as weights
from maskmim.interop import tables
from maskmim.interop.layout import Arrays, Entry, Shapes, Source, WeightsError
from maskmim.types import Net, Tree


class Layout(NamedTuple):
    """How a codebase names and shapes the weights of a masked autoencoder.

    title:      for messages.
    encoder:    (patch (rows, columns, channels), depth) -> entries of the encoder.
    decoder:    depth -> entries of the decoder with its one head, 'pixels'.
    positions:  names of the position tables of encoder and decoder.
    class_token: name of the class token.
    canonical:  arrays -> arrays under the names that the entries have.
    of_decoder: name -> whether it belongs to the decoder.
    """

    title: str
    encoder: Callable[[tuple[int, int, int], int], Sequence[Entry]]
    decoder: Callable[[int], Sequence[Entry]]
    positions: tuple[str, str]
    class_token: str
    canonical: Callable[[Arrays], Arrays]
    of_decoder: Callable[[str], bool]


def load(layout: Layout, net: Net, source: Source) -> Tree:
    """The parameters of a whole model, see `layout.params_of` for what raises."""
    shapes = weights.shapes_of(net)
    entries = [*_encoder(layout, net, shapes), *_decoder(layout, shapes)]
    weights.check_covered(entries, shapes, layout.title)
    arrays = layout.canonical(weights.read(source))
    arrays = _take_encoder_table(layout, net, shapes, arrays)
    arrays = tables.take_fixed(arrays, _decoder_table(layout, net, shapes))
    return weights.params_of(entries, shapes, arrays)


def load_encoder(layout: Layout, net: Net, source: Source) -> Tree:
    """The parameters of the encoder alone; those of a decoder are not looked at."""
    shapes = _within("encoder", weights.shapes_of(net))
    entries = _encoder(layout, net, shapes)
    weights.check_covered(entries, shapes, layout.title)
    arrays = layout.canonical(weights.read(source))
    arrays = {name: array for name, array in arrays.items() if not layout.of_decoder(name)}
    arrays = _take_encoder_table(layout, net, shapes, arrays)
    return weights.params_of(entries, shapes, arrays)["encoder"]


def export(layout: Layout, net: Net, params: Tree) -> Arrays:
    """A model's parameters and its position tables in the other layout, float32."""
    shapes = weights.shapes_of(net)
    entries = [*_encoder(layout, net, shapes), *_decoder(layout, shapes)]
    weights.check_covered(entries, shapes, layout.title)
    arrays = weights.arrays_of(entries, params)
    table = _encoder_table(layout, net, shapes)
    if tables.is_learned(shapes):
        arrays = tables.put_learned(arrays, table)
    else:
        arrays[table.name] = table.fixed
    fixed = _decoder_table(layout, net, shapes)
    return {**arrays, fixed.name: fixed.fixed}


def save(layout: Layout, net: Net, params: Tree, path: str | os.PathLike) -> None:
    """Writes `export` as a safetensors file."""
    weights.write(path, export(layout, net, params))


def _within(part: str, shapes: Shapes) -> Shapes:
    return {path: shape for path, shape in shapes.items() if path.startswith(f"{part}/")}


def _encoder(layout: Layout, net: Net, shapes: Shapes) -> list[Entry]:
    entries = list(layout.encoder(weights.patch_of(net, shapes), _depth("encoder", shapes)))
    if tables.is_learned(shapes):
        entries.append(weights.same(layout.positions[0], tables.LEARNED, lead=1))
    return entries


def _decoder(layout: Layout, shapes: Shapes) -> Sequence[Entry]:
    if not _within("decoder", shapes):
        raise WeightsError(f"{layout.title} has a decoder, which this model lacks")
    return layout.decoder(_depth("decoder", shapes))


def _depth(part: str, shapes: Shapes) -> int:
    return shapes[f"{part}/stack/blocks/norm1/norm/scale"][0]


def _encoder_table(layout: Layout, net: Net, shapes: Shapes) -> tables.Table:
    width = shapes["encoder/embed/kernel"][1]
    return tables.Table(layout.positions[0], width, net.grids["image"])


def _decoder_table(layout: Layout, net: Net, shapes: Shapes) -> tables.Table:
    width = shapes["decoder/embed/kernel"][1]
    return tables.Table(layout.positions[1], width, net.grids["image"])


def _take_encoder_table(layout: Layout, net: Net, shapes: Shapes, arrays: Arrays) -> Arrays:
    table = _encoder_table(layout, net, shapes)
    if tables.is_learned(shapes):
        return tables.take_learned(arrays, table, layout.class_token)
    return tables.take_fixed(arrays, table)
