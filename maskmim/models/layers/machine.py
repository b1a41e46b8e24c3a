"""What networks are built for: the one CPU that is here, or accelerators and meshes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_FOR_ACCELERATORS = ContextVar("build networks for accelerators of another machine", default=False)


@contextmanager
def assume_accelerators() -> Iterator[None]:
    """Build and trace networks as for accelerators, whatever devices are here; for plans."""
    token = _FOR_ACCELERATORS.set(True)
    try:
        yield
    finally:
        _FOR_ACCELERATORS.reset(token)


def for_one_cpu() -> bool:
    """Return whether networks are built and traced for a single CPU device."""
    single_cpu = jax.default_backend() == "cpu" and jax.device_count() == 1
    return single_cpu and not _FOR_ACCELERATORS.get()
