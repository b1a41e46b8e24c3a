"""CLIP's files of transformers, to begin the networks of configs/pair.py with."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maskmim.interop import vision
from maskmim.interop.blocks import stack_entries
from maskmim.interop.difference import Shapes, WeightsError
from maskmim.interop.fitting import Geometry, Selection
from maskmim.interop.layout import Arrays, Entry, kernel, norm, params_of, patch_of, tensor
from maskmim.interop.source import Source
from maskmim.interop.vision_layouts import CLIP, CLIP_BLOCK
from maskmim.tree_paths import named_leaves

if TYPE_CHECKING:
    from maskmim.interop.begin_file import Model

TITLE = "transformers' CLIPModel"
EMBEDDINGS, QKV = "text_model.embeddings", "blocks/attention/qkv/kernel"
# What a network may have beside its encoder of pictures, and their names in a file.
PARTS = {
    "text": r"^text_(model|projection)\.",
    "picture": r"^visual_projection\.",
    "temperature": "^logit_scale$",
}


def is_clip(arrays: Iterable[str]) -> bool:
    """Return whether names are those of a CLIPModel, with the encoder of texts."""
    return {f"{EMBEDDINGS}.token_embedding.weight", "logit_scale"} <= set(arrays)


def of_clip(text: str, file: Path, arrays: Arrays, model: Model, selection: Selection) -> Source:
    """Return the weights of a CLIPModel under the paths of configs/pair.py.

    text:   how the user named the file. file: where it is. arrays: what it holds.
    A network that has the encoder of pictures alone takes that. The class token's position is
    added to it.
    Raises WeightsError for a network whose encoder is not `clip_vision.clip_vit`, where names or
    shapes of what is taken differ, and for another number of heads than a config.json beside the
    file says.
    """
    shapes, where = model.shapes, f"{text}, read as {TITLE}"
    if not {f"encoder/{QKV}", "encoder/first_norm/norm/scale"} <= set(shapes):
        raise WeightsError(
            f"{where}: the network that begins with it is maskmim.models.clip_vision.clip_vit, as "
            "in configs/pair.py"
        )
    ours = {**_pictures(file, model), **_beside(arrays, shapes, selection, where)}
    _check_heads(file.parent / "config.json", shapes, where)
    side = math.isqrt(len(ours["encoder/positions"]))
    lacks = [part for part in PARTS if not _has(shapes, part)]
    left = tuple(f"the {part} part" for part in lacks)
    record = {"file": str(Path(text).expanduser().absolute()), "layout": TITLE}
    return Source(ours, Geometry({model.spec.stream: (side, side)}), text, record, (), left)


def _pictures(file: Path, model: Model) -> Arrays:
    """Return the encoder of pictures by our paths."""
    shapes = {
        path.removeprefix("encoder/"): shape
        for path, shape in model.shapes.items()
        if path.startswith("encoder/") and path != "encoder/positions"
    }
    encoder = vision.load((CLIP,), str(file), shapes, patch_of(model.net, model.shapes))
    return {f"encoder/{name}": leaf for name, leaf in named_leaves(encoder)}


def _beside(arrays: Arrays, shapes: Shapes, selection: Selection, where: str) -> Arrays:
    """Return what is taken of the parts beside the encoder of pictures, by our paths."""
    entries = [entry for entry in _entries(shapes) if selection.takes(entry.path)]
    if not entries:
        return {}
    left = {entry.name for entry in _entries(shapes)} - {entry.name for entry in entries}
    there = "|".join(names for part, names in PARTS.items() if _has(shapes, part))
    read = {name: array for name, array in arrays.items() if re.search(there, name)}
    read = {n: a for n, a in read.items() if n not in left and not n.endswith(".position_ids")}
    chosen = {entry.path: shapes[entry.path] for entry in entries}
    return dict(named_leaves(params_of(entries, chosen, read, where=where)))


def _entries(shapes: Shapes) -> Sequence[Entry]:
    """Return the entries of the parts that a network has beside the encoder of pictures."""
    entries = []
    if _has(shapes, "picture"):
        entries.append(kernel("visual_projection.weight", "picture/dense_0/kernel"))
    if _has(shapes, "temperature"):
        entries.append(tensor("logit_scale", "temperature/scale"))
    if _has(shapes, "text"):
        depth = shapes[f"text/{QKV}"][0]
        entries += [
            tensor(f"{EMBEDDINGS}.token_embedding.weight", "text/embed/embedding"),
            tensor(f"{EMBEDDINGS}.position_embedding.weight", "text/word_positions"),
            *stack_entries(CLIP_BLOCK, "text_model.encoder.layers", "text/blocks", depth),
            *norm("text_model.final_layer_norm", "text/norm"),
            kernel("text_projection.weight", "text/project/kernel"),
        ]
    return entries


def _has(shapes: Shapes, part: str) -> bool:
    return any(path.startswith(f"{part}/") for path in shapes)


def _check_heads(path: Path, shapes: Shapes, where: str) -> None:
    """Raise WeightsError for another number of heads, which the shapes of a file do not show."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for section, part in (("vision_config", "encoder"), ("text_config", "text")):
        if not _has(shapes, part) or section not in stored:
            continue
        theirs, ours = stored[section].get("num_attention_heads"), shapes[f"{part}/{QKV}"][-2]
        if theirs not in (None, ours):
            raise WeightsError(
                f"{where}: its config.json says {theirs} heads in {section}, {part} of this "
                f"network has {ours}: set the variant depth x width x heads of the weights"
            )
