"""A tiny MultiMAE with given weights, inputs and masks, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.blocks import BlockNames, stack_entries
from maskmim.interop.layout import Entry, convolution, linear, norm, tensor, vector
from maskmim.types import Spec
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 3
STRIDE = 2  # of the class map: half the resolution of the picture
CLASSES, CLASS_WIDTH = 5, 4
ENCODER = (2, 12, 2)  # depth, width, heads
DECODER = (2, 8, 2)
SEEN = 18  # visible tokens of all three streams
# Official names of the streams, in the order of the official tokens, and ours.
STREAMS = {"rgb": "image", "depth": "depth", "semseg": "semseg"}
# Heads, official and ours, and the official names of their streams.
HEADS = {"rgb": "rgb", "norm_rgb": "rgb", "depth": "depth", "semseg": "semseg"}
BLOCK = BlockNames("norm1", ("attn.qkv",), "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the weights of an official name, which are not those of a norm by the head's name."""
    return large(name.replace("norm_rgb", "second"), shape, spread=0.3)


def spec() -> Spec:
    """Return three streams whose inputs are normalised already."""
    none = ((), ())
    depth = Spec((IMAGE, IMAGE), 1, (0.0,), (1.0,), "depth", "float32")
    side = IMAGE // STRIDE
    classes = Spec((side, side), 1, *none, "semseg", "int32", classes=CLASSES)
    streams = {"semseg": classes, "depth": depth}
    rgb = (0.0,) * 3, (1.0,) * 3
    return Spec((IMAGE, IMAGE), 3, *rgb, "image", "float32", streams=streams)


def inputs() -> dict[str, np.ndarray]:
    """Return a batch by our names, examples first and channels last; depth has outliers."""
    rng = np.random.RandomState(0)
    picture = rng.standard_normal((EXAMPLES, IMAGE, IMAGE, 3))
    depth = 3 + 2 * rng.standard_normal((EXAMPLES, IMAGE, IMAGE, 1)) ** 3
    side = IMAGE // STRIDE
    classes = rng.randint(0, CLASSES, (EXAMPLES, side, side, 1)).astype(np.int32)
    return {
        "image": picture.astype(np.float32),
        "depth": depth.astype(np.float32),
        "semseg": classes,
    }


def hidden() -> dict[str, np.ndarray]:
    """Return which tokens are hidden, {official stream: bool[B, N_s]}, SEEN visible in all.

    The first example shows all of the picture and the third all of the class map: these have no
    hidden token there, and count nothing in that loss.
    """
    length = (IMAGE // PATCH) ** 2
    counts = [(16, 2, 0), (5, 5, 8), (0, 2, 16)]
    rng = np.random.RandomState(1)
    masks = {name: np.ones((EXAMPLES, length), bool) for name in STREAMS}
    for example, shown in enumerate(counts):
        for name, count in zip(STREAMS, shown, strict=True):
            masks[name][example, rng.permutation(length)[:count]] = False
    return masks


def layout() -> Sequence[Entry]:
    """Return official names and ours; of what is split here, see `halves`, the halves' names."""
    return [
        *_embedding("rgb", 3),
        *_embedding("depth", 1),
        tensor("input_adapters.semseg.class_emb.weight", "encoder/embed_semseg/classes/embedding"),
        *_embedding("semseg", CLASS_WIDTH, PATCH // STRIDE),
        tensor("global_tokens", "encoder/global_token"),
        *stack_entries(BLOCK, "encoder", "encoder/stack/blocks", ENCODER[0]),
        *(entry for head, stream in HEADS.items() for entry in _decoder(head, stream)),
    ]


def halves(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Split official projections to keys and values, stored as one array, into both."""
    split = {}
    for name, array in arrays.items():
        if ".decoder.kv." in name:
            parts = np.split(array, 2)
            split |= {
                name.replace(".kv.", f".{half}."): part
                for half, part in zip("kv", parts, strict=True)
            }
        else:
            split[name] = array
    return split


def _embedding(stream: str, channels: int, side: int = PATCH) -> Sequence[Entry]:
    name, path = f"input_adapters.{stream}.proj", f"encoder/embed_{STREAMS[stream]}/patches"
    return [
        convolution(f"{name}.weight", f"{path}/kernel", (side, side, channels)),
        vector(f"{name}.bias", f"{path}/bias"),
    ]


def _decoder(head: str, stream: str) -> Sequence[Entry]:
    name, path = f"output_adapters.{head}", f"decoder/{head}"
    side, channels = (PATCH // STRIDE, CLASSES) if stream == "semseg" else (PATCH, 3)
    channels = 1 if stream == "depth" else channels
    return [
        *(
            tensor(f"{name}.task_embeddings.{theirs}", f"{path}/{ours}_token", lead=1)
            for theirs, ours in STREAMS.items()
        ),
        tensor(f"{name}.mask_token", f"{path}/mask_token"),
        *linear(f"{name}.proj_context", f"{path}/embed"),
        *norm(f"{name}.query_norm", f"{path}/norm_queries"),
        *norm(f"{name}.context_norm", f"{path}/norm_context"),
        *linear(f"{name}.decoder.q", f"{path}/read/query"),
        *linear(f"{name}.decoder.k", f"{path}/read/key"),
        *linear(f"{name}.decoder.v", f"{path}/read/value"),
        *linear(f"{name}.decoder.proj", f"{path}/read/out", inputs=2),
        *norm(f"{name}.out_norm", f"{path}/norm"),
        *linear(f"{name}.mlp.fc1", f"{path}/mlp/up"),
        *linear(f"{name}.mlp.fc2", f"{path}/mlp/down"),
        *stack_entries(BLOCK, f"{name}.decoder_transformer", f"{path}/stack/blocks", DECODER[0]),
        *(
            values(f"{name}.out_proj.{kind}", f"{path}/head_values/{ours}", channels, side)
            for kind, ours in (("weight", "kernel"), ("bias", "bias"))
        ),
    ]


def values(name: str, path: str, channels: int, side: int) -> Entry:
    """Return the entry of a head; their values stand as channel, row, column, ours channel last."""

    def theirs(a: np.ndarray) -> np.ndarray:
        rows = a.reshape(-1, side, side, channels).transpose(3, 1, 2, 0)
        return rows.reshape(channels * side * side, *a.T.shape[1:])

    def ours(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        rows = a.reshape(channels, side, side, -1).transpose(3, 1, 2, 0)
        return rows.reshape(shape)

    return Entry(name, path, (), theirs, ours)
