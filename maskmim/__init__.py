"""maskmim: masked-image-modelling pretraining in JAX."""

import sys
from typing import Any

__version__ = "0.2.0"

# `python -m maskmim.NAME` imports the package before the command, whose imports take seconds.
if sys.argv[:1] == ["-m"]:
    from maskmim.runtime.starting import start_command

    start_command()


def __getattr__(name: str) -> Any:
    """Return `maskmim.load`, whose imports take seconds, when it is asked for."""
    if name == "load":
        from maskmim.inference import load

        return load
    raise AttributeError(f"module 'maskmim' has no attribute {name!r}")
