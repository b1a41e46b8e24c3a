"""Banks of noise patterns for `maskmim.masks.bank.cropped`, kept in the frozen variables."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.errors import UserError
from maskmim.masks.colour import filter_of
from maskmim.masks.gaussian import filtered_noise
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree

TOGETHER = 128  # Patterns filtered at a time; bounds the memory that making a bank takes.


class BankError(UserError, ValueError):
    """A bank of noise patterns that cannot be read or made."""


def generated(
    *,
    colour: str = "green",
    count: int = 3072,
    size: int = 64,
    sigmas: tuple[float, ...] = (),
    seed: int = 0,
) -> Teacher:
    """A bank made on the device with the filters of `maskmim.masks.colour`.

    count, size: `count` patterns of size x size tokens. colour: red, green, blue, purple or white.
    sigmas: of the colour's blurs, () for its defaults. seed: of the bank alone, so that runs with
    other seeds share it as they would share a file. Gives 'noise_bank' f32[count, size, size].

    Raises BankError for a colour, sigmas or sizes that cannot be.
    Source: carlosh93/ColorMAE ships 3,072 finished patterns a colour (green_noise_data_3072.npz);
    neither their size nor their sigmas are stated there, 64 and the sigmas are ours.
    """
    if count < 1 or size < 1:
        raise BankError(f"a bank of {count} patterns of {size} x {size} tokens cannot be made")
    try:
        blurs = filter_of(colour, tuple(sigmas))
    except ValueError as error:
        raise BankError(f"noise bank: {error}") from error

    def pattern(place: Array) -> Array:
        key = jax.random.fold_in(jax.random.key(seed), place)
        return filtered_noise(key[None], (size, size), blurs)[0]

    def make() -> Array:
        return jax.lax.map(pattern, jnp.arange(count), batch_size=min(TOGETHER, count))

    return _holding(make)


def from_npz(*, path: str) -> Teacher:
    """A bank from a file: the first array [L, M, N] of an npz, such as the authors' downloads.

    The values become f32 (the official code ranks in the file's own type). Gives 'noise_bank'
    f32[L, M, N].

    Raises BankError where the file is missing, is no npz, holds Python objects, or its first array
    is no three-dimensional array of finite real numbers.
    Source: change_color_pattern of models/utils/masking_generator.py, carlosh93/ColorMAE, which
    takes the first array too; the files are linked from its README.
    """
    patterns = read_patterns(Path(path).expanduser())
    return _holding(lambda: jnp.asarray(patterns))


def read_patterns(path: Path) -> np.ndarray:
    """The first array of an npz as f32[L, M, N]; BankError where that cannot be."""
    if not path.is_file():
        raise BankError(
            f"no noise bank at {path}: give the npz file to teachers.<name>.path, or make a bank "
            "with maskmim.teachers.noise_bank.generated"
        )
    if not zipfile.is_zipfile(path):
        raise BankError(f"noise bank {path} is no npz file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            patterns = archive[names[0]] if names else np.zeros(0)
    except Exception as error:  # Damaged headers make numpy's and Python's parsers raise anything.
        raise BankError(f"noise bank {path} cannot be read as numbers: {error}") from error
    if patterns.ndim != 3 or patterns.size == 0 or patterns.dtype.kind not in "fiu":
        raise BankError(
            f"noise bank {path}: its first array is {patterns.dtype}{list(patterns.shape)}, not "
            "real numbers [patterns, rows, columns]"
        )
    patterns = patterns.astype(np.float32)
    if not np.isfinite(patterns).all():
        raise BankError(f"noise bank {path} holds values that are not finite")
    return patterns


def _holding(make: Callable[[], Array]) -> Teacher:
    """A teacher that knows nothing but a bank, asked before the mask is drawn."""

    def init(key: Array, net: Net, params: Tree) -> Tree:
        return ()

    def freeze() -> Tree:
        return {"bank": make()}

    def find(
        net: Net, extra: Tree, frozen: Mapping[str, Array], context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        return {"noise_bank": frozen["bank"]}

    def refresh(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
        return extra

    return Teacher(("noise_bank",), False, init, find, refresh, freeze)
