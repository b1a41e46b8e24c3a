"""jax.jit for tests that compile large programs to run them a few times on small arrays."""

from functools import partial

import jax

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
