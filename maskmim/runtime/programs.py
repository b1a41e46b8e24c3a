"""Where compiled programs are kept between starts."""

from __future__ import annotations

import os
import platform
import zlib
from pathlib import Path

import jax


def keep_programs(place: str, workdir: Path) -> None:
    """Keep compiled programs in a folder, so that the next start need not compile them.

    place: `process.compile_cache`, a folder in the work directory; JAX_COMPILATION_CACHE_DIR wins
    over it, and '' keeps nothing. A program holds instructions of the host's processor, so each
    kind of processor has its own folder.
    """
    if place and not jax.config.jax_compilation_cache_dir:
        folder = workdir / os.path.expanduser(place) / processor()
        jax.config.update("jax_compilation_cache_dir", str(folder))


def processor() -> str:
    """Return a short name for the instruction set of this host's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    can = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return f"{platform.machine()}-{zlib.crc32(can.encode()):08x}"
