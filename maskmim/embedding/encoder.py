"""The encoder of the command: batches of one size, compiled once, checked before the first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from maskmim.config.serialize import to_json
from maskmim.data.batch_arrays import output_shapes
from maskmim.errors import UserError
from maskmim.inference.encoding import AS_EVALUATED, as_layers, pooled_by, pooling_of
from maskmim.inference.loaded import Loaded
from maskmim.inference.programs import Programs
from maskmim.training.build import bind_evals
from maskmim.tree_paths import named_leaves

TOKENS = "tokens"


class Encoder:
    """A loaded model that encodes batches of `batch_size` examples.

    pooling: as of `Model.encode`, 'tokens' for every patch token; None for that of the run's
             evaluations. layers: as of `Model.encode`.
    Raises InferenceError for a pooling or a layer that the encoder lacks; nothing is compiled.

    A batch has the same size from the first to the last, also where a run continues: on some
    devices the last bits of a row depend on the size of its batch.
    """

    def __init__(
        self, loaded: Loaded, batch_size: int, pooling: str | None, layers: Sequence[int] | None
    ):
        wanted = AS_EVALUATED if pooling is None else pooling
        self.layers = as_layers(layers)
        self.pooling, pool = pooling_of(None if wanted == TOKENS else wanted, loaded)
        self.batch_size = batch_size
        self.shapes = output_shapes(bind_evals(loaded.config).transform, loaded.spec)
        self._loaded = loaded
        self._function = pooled_by(loaded, pool, self.layers)
        self._programs = Programs(loaded.method, loaded.variables)
        given = {
            name: jax.ShapeDtypeStruct((batch_size, *one.shape), one.dtype)
            for name, one in self.shapes.items()
        }
        self.row_shape = tuple(self._shape(given).shape[1:])

    def _shape(self, given: Mapping[str, jax.ShapeDtypeStruct]) -> Any:
        """Return the shape of a batch of features."""
        variables = self._loaded.variables
        try:
            return jax.eval_shape(self._function, variables, given)
        except UserError:
            raise
        except Exception:  # whatever a method does with () in place of its frozen arrays
            frozen = jax.eval_shape(self._loaded.method.freeze)
            return jax.eval_shape(self._function, variables._replace(frozen=frozen), given)

    def encode(self, rows: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        """Return the features of at most `batch_size` examples: f32[len(rows), *row_shape]."""
        if not rows:
            return np.zeros((0, *self.row_shape), np.float32)
        arrays = {
            name: np.zeros((self.batch_size, *one.shape), one.dtype)
            for name, one in self.shapes.items()
        }
        for slot, row in enumerate(rows):
            for name, array in arrays.items():
                array[slot] = row[name]
        made = self._programs.call("embed", self._function, arrays)
        return np.asarray(made)[: len(rows)].astype(np.float32)

    def identity(self) -> str:
        """Return a hex sha256 of the weights and the config, which decide what a row is."""
        digest = hashlib.sha256(to_json(self._loaded.config).encode())
        for section in (self._loaded.variables.params, self._loaded.variables.extra):
            for name, leaf in named_leaves(section):
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(leaf).view(np.uint8).reshape(-1))
        return digest.hexdigest()
