"""The encoder of a run as a program of jax.export, which runs without maskmim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from maskmim.config.bricks import public_path, resolve
from maskmim.errors import first_line
from maskmim.exports.subject import ExportError, Subject
from maskmim.interop.layout import nest
from maskmim.tree_paths import named_leaves
from maskmim.types import Array

Flat = dict[str, Any]
# Methods that encode codes of a tokenizer, or quantise what they encoded.
WITH_CODEBOOK = (
    "maskmim.methods.masked_tokens.masked_tokens",
    "maskmim.methods.vq_autoencoder.autoencoder",
    "maskmim.methods.vq_autoencoder.adversarial",
)

PLATFORMS = "cpu", "cuda", "tpu"
FILE = "encode.jaxexport"
LOAD = """# pip install jax flatbuffers safetensors
import jax
import jax.export
import numpy as np
from pathlib import Path
from safetensors.numpy import load_file

folder = Path(FOLDER)
encode = jax.export.deserialize((folder / "encode.jaxexport").read_bytes()).call
params = load_file(folder / "model.safetensors")  # {{name: f32 array}}
images = {inputs}
tokens = encode(params, images)["tokens"]  # f32[batch, {tokens}, {width}]
loss = lambda params: abs(encode(params, images)["tokens"]).mean()  # that of your task
params = jax.tree.map(lambda p, g: p - 1e-3 * g, params, jax.grad(loss)(params))"""


def inputs_shape(subject: Subject) -> tuple[tuple[int, ...], Any]:
    """Return shape and dtype of an example of the main stream, as a program takes it.

    Pictures u8 are taken as f32 from 0 to 1, so that gradients reach them; the program normalises.
    """
    dtype = jnp.float32 if subject.spec.dtype == "uint8" else jnp.dtype(subject.spec.dtype)
    return subject.spec.shape, jnp.int32 if subject.spec.classes else dtype


def encode_function(subject: Subject) -> Callable[[Flat, Array], dict[str, Array]]:
    """Return (flat params {path: array}, inputs [B, ...]) -> {'prefix', 'tokens'}, whole examples.

    Raises ExportError for several streams, which `Subject.grid` refuses, and for a method whose
    features are not the encoder's output alone.
    """
    net, spec = subject.net, subject.spec
    _ = subject.grid
    method = public_path(resolve(subject.config.method))
    if method in WITH_CODEBOOK:
        raise ExportError(
            f"the features of {method.removeprefix('maskmim.')} need a codebook beside the encoder,"
            " which programs do not have: --to safetensors writes its parameters"
        )

    def encode_one(params: Flat, image: Array) -> dict[str, Array]:
        encoded = net.encode(nest(params), net.inputs({spec.stream: image[None]}), None)
        return {"prefix": encoded.prefix[0], "tokens": encoded.tokens[0]}

    # Networks may ask for the length of a batch as a number, which is not known here.
    return jax.vmap(encode_one, in_axes=(None, 0))


def encoder_params(subject: Subject) -> dict[str, np.ndarray]:
    """Return the sections of the params that the encoder reads, by path: no decoder is needed."""
    flat = {path: np.asarray(leaf) for path, leaf in named_leaves(subject.params)}
    shape, dtype = inputs_shape(subject)
    blank = jax.ShapeDtypeStruct((1, *shape), dtype)
    lowered = export.export(jax.jit(encode_function(subject)))(flat, blank)
    names = sorted(flat)  # jax flattens a dictionary in this order
    used = {names[place].split("/")[0] for place in lowered.module_kept_var_idx[:-1]}
    return {path: leaf for path, leaf in flat.items() if path.split("/")[0] in used}


def program(subject: Subject, params: dict[str, np.ndarray]) -> bytes:
    """Return the serialised program for any batch, on CPUs, GPUs and TPUs, with its gradient.

    Raises ExportError where the network cannot be traced for a batch of unknown size.
    """
    shape, dtype = inputs_shape(subject)
    batch = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((*batch, *shape), dtype)
    shapes = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in params.items()}
    encode = jax.jit(encode_function(subject))
    try:
        made = export.export(encode, platforms=PLATFORMS)(shapes, images)
        return bytes(made.serialize(vjp_order=1))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ExportError(
            f"--to jax: {subject.brick} cannot be traced for a batch of any size "
            f"({first_line(error)}): --to safetensors writes its parameters"
        ) from error


def load_lines(subject: Subject) -> str:
    """Return the lines of Python that load the program, take features and a gradient step."""
    shape, dtype = inputs_shape(subject)
    sides = ", ".join(map(str, shape))
    blank = f'np.zeros((4, {sides}), "{np.dtype(dtype)}")'
    scaled = "  # pictures / 255" if subject.spec.dtype == "uint8" else "  # not normalised"
    return LOAD.format(
        inputs=blank + scaled, tokens=int(np.prod(subject.grid)), width=subject.net.width
    )
