"""What of jax's configuration decides which numbers a run draws and computes.

Environment variables such as JAX_ENABLE_X64 and JAX_DEFAULT_PRNG_IMPL set values of `jax.config`.
The commands pin those that decide which random numbers are drawn, so that a run is the same
everywhere and continues anywhere. Others are the user's choice and change rounding only; runs store
them.
"""

from __future__ import annotations

import jax

PINNED = {
    "jax_default_prng_impl": "threefry2x32",
    "jax_enable_x64": False,
    "jax_high_dynamic_range_gumbel": False,
    "jax_random_seed_offset": 0,
    "jax_threefry_partitionable": True,
}
ROUNDING = (
    "jax_default_matmul_precision",
    "jax_disable_jit",
    "jax_exec_time_optimization_effort",
    "jax_optimization_level",
    "jax_softmax_custom_jvp",
)


def pin_randomness() -> list[str]:
    """Set the values of `jax.config` that decide which random numbers are drawn.

    Call it before anything is drawn or compiled. Returns a sentence for each value that the
    environment had set otherwise.
    """
    sentences = []
    for name, value in PINNED.items():
        found = getattr(jax.config, name)
        if found != value:
            jax.config.update(name, value)
            sentences.append(
                f"{name.upper()}={found} is ignored, as it would change which random numbers are "
                f"drawn: maskmim uses {value}, so that a run continues in any environment"
            )
    return sentences


def drawing() -> dict[str, str]:
    """Return the values of `jax.config` that decide which random numbers are drawn, as text."""
    return {name: str(getattr(jax.config, name)) for name in PINNED}


def rounding() -> dict[str, str]:
    """Return the values of `jax.config` that change how results are rounded, as text by name."""
    return {name: str(getattr(jax.config, name)) for name in ROUNDING}
