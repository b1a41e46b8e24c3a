"""Names of arrays, trees of arrays and batches."""

from collections.abc import Mapping
from typing import Any

import jax

Array = jax.Array
Tree = Any
Batch = Mapping[str, Array]
