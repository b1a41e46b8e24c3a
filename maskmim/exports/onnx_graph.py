"""The encoder of a run as an ONNX graph, by jax2onnx."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import jaxpr_as_fun

from maskmim.errors import first_line
from maskmim.exports.program import encode_function, encoder_params, inputs_shape
from maskmim.exports.subject import ExportError, Subject
from maskmim.exports.unrolled import unrolled
from maskmim.types import Array

FILE = "encode.onnx"
MOST_BYTES = 1_000_000_000
MISSING = (
    "--to onnx needs jax2onnx, which is not installed: pip install --no-deps jax2onnx && pip "
    "install onnx onnx-ir onnxruntime einops equinox dm-pix (without --no-deps, pip would replace "
    "orbax-checkpoint by a version that is too old for maskmim)"
)
LOAD = """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(FOLDER + "/encode.onnx")
images = {inputs}
prefix, tokens = session.run(None, {{session.get_inputs()[0].name: images}})"""


def graph(subject: Subject) -> Any:
    """Return the onnx_ir.Model: inputs [B, ...] as of `program`, outputs prefix and tokens.

    The parameters are constants of the graph; the size of the input is fixed, the batch is not.
    Raises ExportError without jax2onnx, and for a network with an operation that it does not know.
    """
    check_installed()
    params = {path: jnp.asarray(leaf) for path, leaf in encoder_params(subject).items()}
    encode, (shape, dtype) = encode_function(subject), inputs_shape(subject)
    images = jax.ShapeDtypeStruct((*export.symbolic_shape("batch"), *shape), dtype)

    def outputs(images: Array) -> tuple[Array, Array]:
        encoded = encode(params, images)
        return encoded["prefix"], encoded["tokens"]

    try:
        # Traced here, because jax2onnx replaces functions of jax that flax calls.
        closed = jax.make_jaxpr(unrolled(jax.make_jaxpr(outputs)(images)))(images)
        return _convert(jaxpr_as_fun(closed), images)
    except (TypeError, ValueError, NotImplementedError, KeyError) as error:
        raise ExportError(
            f"--to onnx: jax2onnx cannot write {subject.brick} ({first_line(error)}): --to jax"
        ) from error


def check_installed() -> None:
    """Raise ExportError, which says how to install them, unless the libraries are there."""
    if any(find_spec(name) is None for name in ("jax2onnx", "onnx", "onnx_ir")):
        raise ExportError(MISSING)


def _convert(function: Any, images: jax.ShapeDtypeStruct) -> Any:
    with quiet():
        from jax2onnx import to_onnx

        return to_onnx(
            function,
            [images],
            model_name="encode",
            return_mode="ir",
            input_names=["images"],
            output_names=["prefix", "tokens"],
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings about examples of jax2onnx and about types that ONNX infers itself."""
    loggers = [logging.getLogger(name) for name in ("jax2onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def save(model: Any, path: Path) -> None:
    """Write the graph; parameters of more than 1 GB go to a file beside it, as ONNX requires."""
    import onnx_ir

    sizes = sum(value.const_value.nbytes for value in model.graph.initializers.values())
    beside = f"{path.name}.data" if sizes > MOST_BYTES else None
    with quiet():
        onnx_ir.save(model, path, external_data=beside)


def load_lines(subject: Subject) -> str:
    """Return the lines of Python that run the graph."""
    shape, dtype = inputs_shape(subject)
    blank = f'np.zeros((4, {", ".join(map(str, shape))}), "{np.dtype(dtype)}")'
    scaled = "  # pictures / 255" if subject.spec.dtype == "uint8" else "  # not normalised"
    return LOAD.format(inputs=blank + scaled)
