"""Memory that glibc keeps between steps, on hosts that train on their processors."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping
from pathlib import Path

# Parameters of mallopt, from glibc's malloc.h, and what is set, in this order. A threshold of -1 is
# none; the largest positive one, 2 GB, is below the temporary memory of a ViT-S at batch 16.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
KEPT = {ARENA_MAX: 1, MMAP_MAX: 0, TRIM_THRESHOLD: -1}
# Devices of NVIDIA's GPUs, and of TPUs.
ACCELERATORS = ("/dev/nvidiactl", "/dev/accel0", "/dev/vfio/0")


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let glibc keep memory that is freed, and return whether it was told so.

    XLA allocates its temporary memory anew in each step of a CPU, and glibc gives large pieces back
    to the system, which fills them with zeros when they are asked for again: a quarter of the time
    of a small training. Call it before threads allocate. Nothing is changed under another C
    library, where an accelerator is seen, whose step has its memory elsewhere and whose host has
    many threads that allocate, and where the environment has GLIBC_TUNABLES or a MALLOC_ variable.
    """
    chosen = [name for name in environment if name.startswith("MALLOC_")]
    if chosen or "GLIBC_TUNABLES" in environment or platform.libc_ver()[0] != "glibc":
        return False
    if any(Path(device).exists() for device in ACCELERATORS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(parameter, value) for parameter, value in KEPT.items())
