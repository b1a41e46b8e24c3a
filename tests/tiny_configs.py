"""Every tiny config of the project, what it assembles, and what is called of its method."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from maskmim.config.load import load
from maskmim.config.python_file import config_files
from maskmim.evals.drawable import restorable_streams
from maskmim.evals.evaluation import evaluated_shapes
from maskmim.evals.reconstruction import outputs_by_stream, paste_predictions
from maskmim.training.build import Assembly, assemble, jitted_step
from maskmim.training.train_step import TrainStep
from maskmim.types import Randomness, Variables, random_key

TINY = sorted(path.stem for path in config_files().values() if "tiny" in path.read_text())
# Other choices of a config that build another network or another method.
OTHERS = [
    "a2mim:model=resnet",
    "av_mae:fusion=early,decoder=joint",
    "cae:target=pixels",
    "colormae:mask=bank",
    "mgmae:found",
    "mto:host=mae",
    "vqgan:adversarial=False",
    "simmim:model=swin",
    "sma:kind=text",
    "videomae:dual",
]


class Tiny(NamedTuple):
    """A tiny config, what it assembles, and its jitted step."""

    config: ConfigDict
    parts: Assembly
    step: TrainStep


def tiny(name: str) -> Tiny:
    """The config `name:argument` with `tiny`."""
    name, _, argument = name.partition(":")
    config = load(f"{name}:{','.join(filter(None, ['tiny', argument]))}")
    parts = assemble(config, 296)
    return Tiny(config, parts, jitted_step(config, parts))


@contextlib.contextmanager
def promoting_nothing() -> Iterator[None]:
    """Let jax raise where it would promote a dtype or a rank."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def zeros(parts):
    """Variables as `load_trained` returns them: numpy arrays."""
    shapes = Variables(parts.shapes.params, parts.shapes.extra, parts.frozen_shapes)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def entries(parts, variables):
    """Functions of a batch, by name: all that evaluators and pictures call of a method."""
    apply, sheets = parts.method.apply, parts.method.sheets
    plain = {name: apply[name] for name in ("encode", "encode_student", "codes") if name in apply}
    drawing = {name: apply[name] for name in ("mask", "reconstruct") if name in apply}
    drawing |= {f"sheet {name}": sheet for name, sheet in sheets.items()}
    randomness = Randomness.of(random_key(0), 4)
    if nets := restorable_streams(parts):
        drawing["reconstruct"] = partial(pasted, nets, apply["reconstruct"])
    found = {name: lambda batch, f=f: f(variables, batch) for name, f in plain.items()}
    return found | {
        name: lambda batch, f=f: f(variables, batch, randomness) for name, f in drawing.items()
    }


def pasted(nets, reconstruct, *given):
    """The pictures of all streams that are reconstructed, by name."""
    by_stream = outputs_by_stream(reconstruct(*given), next(iter(nets)))
    return {
        name: paste_predictions(nets[name], by_stream[name]) for name in nets if name in by_stream
    }


def examples(parts):
    """Shapes of a batch of evaluation."""
    made = {**parts.spec.arrays, **parts.spec.fields}
    declared = {
        name: jax.ShapeDtypeStruct((4, *one.shape), one.dtype) for name, one in made.items()
    }
    return declared | evaluated_shapes(parts, 4)
