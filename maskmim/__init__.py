"""maskmim: masked-image-modelling pretraining in JAX."""

import sys

__version__ = "0.1.0"

# `python -m maskmim.NAME` imports the package before the command, whose imports take seconds.
if sys.argv[:1] == ["-m"]:
    from maskmim.runtime.starting import start_command

    start_command()
