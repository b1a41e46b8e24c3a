"""Loading and writing masked autoencoders, for any layout that a `Layout` describes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from maskmim.interop import layout as weights
from maskmim.interop import tables
from maskmim.interop.difference import Shapes, WeightsError
from maskmim.interop.layout import Arrays, Entry, Source
from maskmim.types import Net, Tree


class Layout(NamedTuple):
    """How a codebase names and shapes the weights of a masked autoencoder.

    title:       for messages.
    encoder:     (patch (rows, columns, channels), depth) -> entries of the encoder.
    decoder:     depth -> entries of the decoder with its one head, 'pixels'.
    positions:   names of the position tables of encoder and decoder.
    class_token: name of the class token.
    canonical:   arrays -> arrays under the names that the entries have.
    of_decoder:  name -> whether it belongs to the decoder.
    """

    title: str
    encoder: Callable[[tuple[int, int, int], int], Sequence[Entry]]
    decoder: Callable[[int], Sequence[Entry]]
    positions: tuple[str, str]
    class_token: str
    canonical: Callable[[Arrays], Arrays]
    of_decoder: Callable[[str], bool]

    def load(self, net: Net, source: Source) -> Tree:
        """Load a model's parameters from a safetensors file or numpy arrays, as numpy float32.

        Raises WeightsError listing names that are missing, unexpected or of another shape, and for
        a position table that is not the model's.
        """
        shapes = weights.shapes_of(net)
        entries = _model_entries(self, net, shapes)
        arrays = self.canonical(weights.read_arrays(source))
        arrays = _take_encoder_table(self, net, shapes, arrays)
        arrays = tables.take_fixed(arrays, _table(self, "decoder", net, shapes))
        return weights.params_of(entries, shapes, arrays, where=_describe(self, source))

    def load_encoder(self, net: Net, source: Source) -> Tree:
        """Load `params['encoder']` alone, from weights with or without a decoder.

        Arrays of a decoder are ignored. Raises as `load` does.
        """
        shapes = _within("encoder", weights.shapes_of(net))
        entries = _encoder_entries(self, net, shapes)
        weights.check_covered(entries, shapes, self.title)
        arrays = self.canonical(weights.read_arrays(source))
        arrays = {name: array for name, array in arrays.items() if not self.of_decoder(name)}
        arrays = _take_encoder_table(self, net, shapes, arrays)
        params = weights.params_of(entries, shapes, arrays, where=_describe(self, source))
        return params["encoder"]

    def export(self, net: Net, params: Tree) -> Arrays:
        """Convert a model's parameters to this layout, float32, position tables included.

        Raises WeightsError for a model with parts that the layout has no place for (registers,
        other heads than 'pixels') or without a class token.
        """
        shapes = weights.shapes_of(net)
        arrays = weights.arrays_of(_model_entries(self, net, shapes), params)
        encoder_table = _table(self, "encoder", net, shapes)
        if tables.is_learned(shapes):
            arrays = tables.put_learned(arrays, encoder_table)
        else:
            arrays[encoder_table.name] = encoder_table.fixed
        decoder_table = _table(self, "decoder", net, shapes)
        return {**arrays, decoder_table.name: decoder_table.fixed}

    def save(self, net: Net, params: Tree, path: str | os.PathLike) -> None:
        """Write `export` as a safetensors file."""
        weights.write_arrays(path, self.export(net, params))


def _describe(layout: Layout, source: Source) -> str:
    if isinstance(source, Mapping):
        return layout.title
    return f"{os.fspath(source)}, read in {layout.title}"


def _within(part: str, shapes: Shapes) -> Shapes:
    return {path: shape for path, shape in shapes.items() if path.startswith(f"{part}/")}


def _model_entries(layout: Layout, net: Net, shapes: Shapes) -> list[Entry]:
    """Return the entries of encoder and decoder; raises WeightsError unless they fit the model."""
    if not _within("decoder", shapes):
        raise WeightsError(f"{layout.title} has a decoder, which this model lacks")
    decoder = layout.decoder(_depth("decoder", shapes))
    entries = [*_encoder_entries(layout, net, shapes), *decoder]
    weights.check_covered(entries, shapes, layout.title)
    return entries


def _encoder_entries(layout: Layout, net: Net, shapes: Shapes) -> list[Entry]:
    entries = list(layout.encoder(weights.patch_of(net, shapes), _depth("encoder", shapes)))
    if tables.is_learned(shapes):
        entries.append(weights.tensor(layout.positions[0], tables.LEARNED, lead=1))
    return entries


def _depth(part: str, shapes: Shapes) -> int:
    return shapes[f"{part}/stack/blocks/norm1/norm/scale"][0]


def _table(layout: Layout, part: str, net: Net, shapes: Shapes) -> tables.Table:
    name = layout.positions[("encoder", "decoder").index(part)]
    width = shapes[f"{part}/embed/kernel"][1]
    return tables.Table(name, width, net.grids["image"])


def _take_encoder_table(layout: Layout, net: Net, shapes: Shapes, arrays: Arrays) -> Arrays:
    table = _table(layout, "encoder", net, shapes)
    if tables.is_learned(shapes):
        return tables.take_learned(arrays, table, layout.class_token)
    return tables.take_fixed(arrays, table)
