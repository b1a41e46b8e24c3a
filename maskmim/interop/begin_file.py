"""Weights to begin with from files of transformers, timm and the official MAE.

Strict, as `interop.masked_autoencoder`, for the parts that are taken; a file's heads and poolers,
and a decoder that this network has no place for, are left.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from maskmim.interop import clip_files, huggingface, mae_official, own_layout, tables
from maskmim.interop.difference import Shapes, WeightsError
from maskmim.interop.fitting import Geometry, Selection
from maskmim.interop.layout import Arrays, Entry, params_of, patch_of, read_arrays
from maskmim.interop.masked_autoencoder import Layout
from maskmim.interop.source import Source
from maskmim.models.layers.resized_positions import Grid
from maskmim.tree_paths import named_leaves
from maskmim.types import Net, Spec

INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
STACK = "stack/blocks/norm1/norm/scale"
LAST_NORM = "encoder/norm/"


class Known(NamedTuple):
    """A layout, and a pattern of the names that its files hold besides a masked autoencoder."""

    layout: Layout
    others: str


KNOWN = (
    Known(
        huggingface.LAYOUT,
        r"^(vit\.)?(pooler|classifier|embeddings\.mask_token)(\.|$)|^decoder\.(weight|bias|0\.)",
    ),
    Known(mae_official.LAYOUT, r"^(head|fc_norm)\."),
)


class Model(NamedTuple):
    """The network that begins: what of it files are read for.

    shapes: of its params, by path. settings: its section of the config.
    """

    spec: Spec
    net: Net
    shapes: Shapes
    settings: ConfigDict


class Facts(NamedTuple):
    """What a config.json of transformers beside the weights says; None where it does not."""

    heads: int | None = None
    decoder_heads: int | None = None
    epsilon: float | None = None
    grid: Grid | None = None


def of_file(text: str, model: Model, selection: Selection) -> Source:
    """Return the weights of a safetensors file, or of a folder with one, under our paths.

    Raises WeightsError for what is no such file, for a network that is no plain ViT on pictures,
    and where names or shapes of the parts that are taken differ.
    """
    files = find_files(text)
    if own_layout.is_own(files[0]):
        return own_layout.of_own_file(text, files[0], model.spec, model.net)
    arrays: Arrays = {}
    for file in files:
        arrays |= read_arrays(file)
    if clip_files.is_clip(arrays):
        return clip_files.of_clip(text, files[0], arrays, model, selection)
    known, arrays = recognise(text, arrays)
    layout = known.layout
    where = f"{text}, read in {layout.title}"
    _check_plain(model, where)
    facts = read_facts(files[0].parent / "config.json")
    norm = [] if _has_last_norm(model) else _last_norm(layout, model)
    others = [name for name in arrays if re.search(known.others, name)]
    blank = [name for name in layout.positions if name in arrays and not arrays[name].any()]
    decoder = [name for name in arrays if layout.of_decoder(name) and name not in others]
    encoder = {name: arrays[name] for name in arrays if name not in {*others, *decoder, *norm}}
    ours, grid = {}, next(iter(model.net.grids.values()))
    if any(selection.takes(path) for path in model.shapes if path.startswith("encoder/")):
        ours, grid = _encoder(layout, encoder, model, selection, facts, where)
        _check_heads(facts.heads, "encoder", model, where)
    if decoder and _takes_decoder(layout, model, selection):
        ours |= _decoder(layout, {name: arrays[name] for name in decoder}, model, selection, where)
        decoder = []
        _check_heads(facts.decoder_heads, "decoder", model, where)
    record = {"file": str(Path(text).expanduser().absolute()), "layout": layout.title}
    geometry = Geometry({model.spec.stream: grid})
    remarks = tuple(_remarks(facts, model, blank))
    return Source(
        ours, geometry, text, record, remarks, (*_first_names([*decoder, *others]), *norm)
    )


def find_files(text: str) -> list[Path]:
    """Return the safetensors files that a path names: a file, or those of a folder.

    Raises WeightsError where there is none, and for a work directory of maskmim.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        if (path / "checkpoints").is_dir():
            raise WeightsError(f"{text} is a run of maskmim: use --config.begin.workdir={text}")
        return _files_of_folder(path, text)
    if not path.is_file():
        raise WeightsError(
            f"no weights at {text!r}: give a safetensors file, or a folder that transformers' "
            "save_pretrained wrote"
        )
    return [path]


def _files_of_folder(folder: Path, text: str) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        try:
            names = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        except (ValueError, KeyError, AttributeError) as error:
            raise WeightsError(f"{folder / INDEX} is damaged ({error}): copy it again") from error
        if missing := sorted(name for name in set(names) if not (folder / name).is_file()):
            raise WeightsError(f"{text} lacks {', '.join(missing)}, which {INDEX} names")
        return [folder / name for name in sorted(set(names))]
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found
    if found:
        names = ", ".join(path.name for path in found)
        raise WeightsError(f"{text} holds several files: name one of {names}")
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pth"))
    how = (
        f"{pickles[0]} is a pickle: convert it once with safetensors.torch.save_file"
        if pickles
        else "give a safetensors file, or a folder that transformers' save_pretrained wrote"
    )
    raise WeightsError(f"{text} is a folder that holds no run and no {WEIGHTS}: {how}")


def recognise(text: str, arrays: Arrays) -> tuple[Known, Arrays]:
    """Return the layout of a file's arrays, and the arrays under its names."""
    for known in KNOWN:
        named = known.layout.canonical(arrays)
        if known.layout.class_token in named:
            return known, named
    titles = " nor ".join(known.layout.title for known in KNOWN)
    raise WeightsError(
        f"{text} is neither in {titles}, which timm's ViT shares: it has {', '.join([*arrays][:3])}"
    )


def read_facts(path: Path) -> Facts:
    """Return what a config.json says; nothing where there is none or it is of something else."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Facts()
    if not isinstance(stored, Mapping) or "num_attention_heads" not in stored:
        return Facts()
    sides = [_pair(stored.get(name)) for name in ("image_size", "patch_size")]
    grid = None
    if all(sides):
        grid = tuple(size // patch for size, patch in zip(*sides, strict=True))
    return Facts(
        stored["num_attention_heads"],
        stored.get("decoder_num_attention_heads"),
        stored.get("layer_norm_eps"),
        grid,
    )


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, int):
        return value, value
    return tuple(value) if isinstance(value, list) and len(value) == 2 else None


def _check_plain(model: Model, where: str) -> None:
    net, lacks = (
        model.net,
        [path for path in ("encoder/embed/kernel", f"encoder/{STACK}") if path not in model.shapes],
    )
    if lacks or len(net.grids) != 1 or len(model.spec.size) != 2 or net.restore is None:
        why = f"lacks {', '.join(lacks)}" if lacks else "does not see pictures of one stream"
        raise WeightsError(
            f"{where}: files are read into a plain ViT on pictures, such as that of configs/mae.py;"
            f" the network of this config {why}"
        )


def _encoder(
    layout: Layout,
    arrays: Arrays,
    model: Model,
    selection: Selection,
    facts: Facts,
    where: str,
) -> tuple[dict[str, np.ndarray], Grid]:
    """Return the encoder's arrays under our paths, and the grid of its position table."""
    (grid,) = model.net.grids.values()
    depth = model.shapes[f"encoder/{STACK}"][0]
    entries = layout.encoder(patch_of(model.net, model.shapes), depth)
    if not _has_last_norm(model):
        entries = [entry for entry in entries if not entry.path.startswith(LAST_NORM)]
    table = tables.Table(layout.positions[0], model.shapes["encoder/embed/kernel"][1], grid)
    ours, old = {}, tuple(grid)
    if tables.is_learned(model.shapes):
        arrays, positions, old = _cut_table(arrays, table, layout.class_token, facts.grid, where)
        if positions is not None and selection.takes(tables.LEARNED):
            ours[tables.LEARNED] = positions
    else:
        arrays = tables.take_fixed(_without_blank(arrays, table.name), table)
    return {**ours, **_convert(entries, arrays, model, selection, where)}, old


def _has_last_norm(model: Model) -> bool:
    """Return whether the network is not one that is built without a norm behind its last block."""
    return "last_norm" not in model.settings or model.settings.last_norm


def _last_norm(layout: Layout, model: Model) -> list[str]:
    """Return a layout's names of the norm behind the last block.

    A network whose classifier has a norm of its own has no place for it.
    """
    entries = layout.encoder(patch_of(model.net, model.shapes), 0)
    return [entry.name for entry in entries if entry.path.startswith(LAST_NORM)]


def _cut_table(
    arrays: Arrays, table: tables.Table, class_token: str, grid: Grid | None, where: str
) -> tuple[Arrays, np.ndarray | None, Grid]:
    """Return the arrays without a learned table, its rows f32[N, D] and its grid.

    A row of the class token, which comes first, is added to the class token.
    """
    rest = dict(arrays)
    rows = rest.pop(table.name, None)
    if rows is None:
        return rest, None, table.grid
    rows = rows.reshape(-1, rows.shape[-1])
    for prefix in (1, 0):
        old = _grid_of_rows(len(rows) - prefix, (grid, table.grid))
        if old is None:
            continue
        if prefix and class_token in rest:
            rest[class_token] = rest[class_token] + rows[0]
        return rest, rows[prefix:], old
    raise WeightsError(
        f"{where}: {table.name} has {len(rows)} rows, which are no square grid: put the weights' "
        "config.json beside the file, which says their image_size and patch_size"
    )


def _grid_of_rows(count: int, likely: Sequence[Grid | None]) -> Grid | None:
    """Return the first grid of so many positions: one of the likely ones, or a square."""
    side = math.isqrt(max(count, 0))
    candidates = [*(grid for grid in likely if grid is not None), (side, side)]
    return next((tuple(grid) for grid in candidates if math.prod(grid) == count > 0), None)


def _takes_decoder(layout: Layout, model: Model, selection: Selection) -> bool:
    """Return whether this network has the layout's decoder and any of it is taken."""
    stack = f"decoder/{STACK}"
    if stack not in model.shapes:
        return False
    paths = {entry.path for entry in layout.decoder(model.shapes[stack][0])}
    return paths <= set(model.shapes) and any(map(selection.takes, paths))


def _decoder(
    layout: Layout, arrays: Arrays, model: Model, selection: Selection, where: str
) -> dict[str, np.ndarray]:
    """Return the decoder's arrays under our paths."""
    (grid,) = model.net.grids.values()
    entries = layout.decoder(model.shapes[f"decoder/{STACK}"][0])
    width = model.shapes["decoder/embed/kernel"][1]
    if any(selection.takes(path) for path in model.shapes if path.startswith("decoder/stack/")):
        table = tables.Table(layout.positions[1], width, grid)
        arrays = tables.take_fixed(_without_blank(arrays, table.name), table)
    arrays = {name: array for name, array in arrays.items() if name != layout.positions[1]}
    return _convert(entries, arrays, model, selection, where)


def _convert(
    entries: Sequence[Entry], arrays: Arrays, model: Model, selection: Selection, where: str
) -> dict[str, np.ndarray]:
    """Return the arrays of the entries that are taken, by our paths."""
    chosen = [entry for entry in entries if selection.takes(entry.path)]
    left = {entry.name for entry in entries} - {entry.name for entry in chosen}
    if lacking := sorted({entry.path for entry in chosen} - set(model.shapes)):
        raise WeightsError(
            f"{where}: this network lacks {', '.join(lacking)}: build the network that has them"
        )
    shapes = {entry.path: model.shapes[entry.path] for entry in chosen}
    arrays = {name: array for name, array in arrays.items() if name not in left}
    try:
        return dict(named_leaves(params_of(chosen, shapes, arrays, where=where)))
    except WeightsError as error:
        raise WeightsError(
            f"{error}\nbegin.take=encoder leaves a decoder out; begin.fresh names what stays fresh"
        ) from error


def _check_heads(theirs: int | None, part: str, model: Model, where: str) -> None:
    """Raise WeightsError for another number of heads, which the shapes of a file do not show."""
    ours = model.shapes[f"{part}/stack/blocks/attention/qkv/kernel"][-2]
    if theirs is not None and theirs != ours:
        raise WeightsError(
            f"{where}: its config.json says {theirs} heads, the {part} of this network has {ours}: "
            "set the variant depth x width x heads, or decoder_heads, of the weights"
        )


def _without_blank(arrays: Arrays, name: str) -> Arrays:
    """Return the arrays without a position table of zeros.

    transformers 5 writes such tables of a ViTMAE that it made from a config, and a file may lack
    them as well.
    """
    is_blank = name in arrays and not arrays[name].any()
    return {key: array for key, array in arrays.items() if not (is_blank and key == name)}


def _remarks(facts: Facts, model: Model, blank: Sequence[str]) -> list[str]:
    """Return lines about what the network computes otherwise than the source of a file."""
    settings, epsilon, lines = model.settings, facts.epsilon, []
    if blank and not tables.is_learned(model.shapes):
        lines.append(f"{' and '.join(blank)} held zeros; sin-cos positions are computed")
    if epsilon is not None and "norm_eps" in settings and settings.norm_eps != epsilon:
        ours = f"{settings.norm_eps:g} (model.norm_eps)"
        lines.append(f"its norms add {epsilon:g} to the variance, those of this network {ours}")
    return lines


def _first_names(names: Sequence[str]) -> list[str]:
    """Return the first parts of names in a file, each once."""
    return list(dict.fromkeys(name.partition(".")[0] for name in names))
