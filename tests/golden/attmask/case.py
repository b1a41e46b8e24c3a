"""A tiny AttMask with given weights, crops and centres, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, Shapes, kernel, params_of, shapes_of, tensor, vector
from maskmim.interop.mae_official import LAYOUT
from maskmim.models.projection import vit_projected
from maskmim.types import Spec, Tree
from tests.golden.official_weights import drawn

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, LOCAL, PATCH = 16, 8, 4
EXAMPLES, VIEWS, LOCALS = 3, 2, 3
DEPTH, WIDTH, HEADS = 2, 8, 2
HIDDEN, BOTTLENECK, VALUES = 16, 8, 12
SPEC = Spec((IMAGE, IMAGE), 3, (0.0,) * 3, (1.0,) * 3)
MODEL = partial(
    vit_projected,
    variant=f"{DEPTH}x{WIDTH}x{HEADS}",
    patch=(PATCH, PATCH),
    prototypes=VALUES,
    hidden=HIDDEN,
    bottleneck=BOTTLENECK,
    drop_path=0.0,
)
RATIO = 0.4
# Settings of the losses: epochs in all and of warm-up, the epoch at hand, teacher temperatures.
EPOCHS, WARM, EPOCH = 10, 5, 3
CLASS_TEMPERATURE, PATCH_TEMPERATURE = (0.04, 0.07), (0.05, 0.06)
# Norms of gradients are clipped at this in the case, so that some are and some are not.
CLIP = 1.2


def crops() -> tuple[np.ndarray, np.ndarray]:
    """Normalised large and small crops, f32[B, V, H, W, 3] and f32[B, L, h, w, 3]."""
    rng = np.random.RandomState(0)
    large = rng.standard_normal((EXAMPLES, VIEWS, IMAGE, IMAGE, 3))
    small = rng.standard_normal((EXAMPLES, LOCALS, LOCAL, LOCAL, 3))
    return large.astype(np.float32), small.astype(np.float32)


def kept_whole() -> np.ndarray:
    """Which crops are not masked: bool[B, V]."""
    return np.array([[False, True], [False, False], [True, False]])


def centres() -> dict[str, np.ndarray]:
    """The centres before the step, f32[VALUES] each."""
    rng = np.random.RandomState(1)
    draws = 0.3 * rng.standard_normal((2, VALUES)).astype(np.float32)
    return {"class": draws[0], "tokens": draws[1]}


def weight(who: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name for the student or the teacher.

    Large random numbers, scales of norms and lengths around 1. The class token's own position is 0:
    ours has none.
    """
    numbers = drawn(f"{who} {name}", shape)
    around_one = ("norm" in name and name.endswith("weight")) or name.endswith("weight_g")
    found = (1 + 0.2 * numbers if around_one else 0.4 * numbers).astype(np.float32)
    if name.endswith("pos_embed"):
        found[:, 0] = 0
    return found


def layout() -> Sequence[Entry]:
    """Official names and ours; of pos_embed the tokens' rows alone."""
    head = {"mlp.0": "first", "mlp.2": "second", "mlp.4": "down"}
    backbone = [
        *LAYOUT.encoder((PATCH, PATCH, 3), DEPTH),
        tensor("pos_embed", "encoder/positions", lead=1),
        _reshaped("masked_embed", "encoder/mask_token", (1, WIDTH)),
    ]
    return [
        *(entry._replace(name=f"backbone.{entry.name}") for entry in backbone),
        *(kernel(f"head.{a}.weight", f"decoder/{b}/kernel") for a, b in head.items()),
        *(vector(f"head.{a}.bias", f"decoder/{b}/bias") for a, b in head.items()),
        kernel("head.last_layer.weight_v", "decoder/last/kernel"),
        _reshaped("head.last_layer.weight_g", "decoder/last/scale", (VALUES, 1)),
    ]


def _reshaped(name: str, path: str, theirs: tuple[int, ...]) -> Entry:
    return Entry(name, path, (), lambda a: a.reshape(theirs), lambda a, shape: a.reshape(shape))


def params(who: str) -> Tree:
    """Our parameters of the student or of the teacher, whose mask embedding is of no use."""
    shapes, found = shapes_of(MODEL(SPEC)), {}
    for entry in layout():
        shape = _there(entry, shapes)
        if entry.name.endswith("pos_embed"):
            found[entry.name] = weight(who, entry.name, (1, shape[1] + 1, shape[2]))[:, 1:]
        else:
            found[entry.name] = weight(who, entry.name, shape)
    return params_of(layout(), shapes, found)


def split(values: np.ndarray) -> dict[str, np.ndarray]:
    """What is stored of all parameters in one row, by official name."""
    shapes, found, start = shapes_of(MODEL(SPEC)), {}, 0
    for entry in layout():
        shape = _there(entry, shapes)
        stop = start + int(np.prod(shape))
        found[entry.name], start = values[start:stop].reshape(shape), stop
    if start != values.size:
        raise AssertionError(f"{values.size} values for {start} parameters")
    return found


def _there(entry: Entry, shapes: Shapes) -> tuple[int, ...]:
    return entry.theirs_of(np.zeros(shapes[entry.path])[entry.index]).shape
