"""jax.jit for tests, which tests/conftest.py compiles with few optimisations unless told otherwise.

quick_jit: for large programs that run a few times on small arrays.
users_jit: as users' programs are compiled, where the last digits are compared.
"""

from functools import partial

import jax

users_jit = partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 3,
        "xla_llvm_disable_expensive_passes": False,
        "xla_cpu_use_fusion_emitters": True,
    },
)
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
