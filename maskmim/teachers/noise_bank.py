"""Banks of noise patterns for `maskmim.masks.bank.cropped`, kept in the frozen variables."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config.ranges import Positive, PositiveInt, Seed
from maskmim.errors import UserError
from maskmim.masks.colour import Colour, filter_of
from maskmim.masks.gaussian import filtered_noise
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree, random_key, stateless

CHUNK = 128  # Patterns filtered at a time; bounds the memory that making a bank takes.


class BankError(UserError, ValueError):
    """A bank of noise patterns that cannot be read or made."""


def generated(
    *,
    colour: Colour = "green",
    count: PositiveInt = 3072,
    size: PositiveInt = 64,
    sigmas: tuple[Positive, ...] = (),
    seed: Seed = 0,
) -> Teacher:
    """Return a teacher with a bank made on the device by the filters of `maskmim.masks.colour`.

    colour:      red, green, blue, purple or white.
    count, size: `count` patterns of size x size tokens.
    sigmas:      of the colour's blurs, () for its defaults.
    seed:        of the bank alone, so that runs with other seeds share it as they would a file.
    Gives 'noise_bank' f32[count, size, size].
    Raises BankError for an unknown colour, unfitting sigmas, and a count or size below 1.
    Source: carlosh93/ColorMAE ships 3,072 finished patterns per colour
    (green_noise_data_3072.npz); it states neither their size nor their sigmas, 64 and the sigmas
    are ours.
    """
    if count < 1 or size < 1:
        raise BankError(
            f"noise bank of {count} patterns of {size} x {size} tokens: count and size must be at "
            "least 1"
        )
    try:
        blurs = filter_of(colour, tuple(sigmas))
    except ValueError as error:
        raise BankError(f"noise bank: {error}") from error

    def pattern(index: Array) -> Array:
        key = jax.random.fold_in(random_key(seed), index)
        return filtered_noise(key[None], (size, size), blurs)[0]

    def make() -> Array:
        return jax.lax.map(pattern, jnp.arange(count), batch_size=min(CHUNK, count))

    return _bank_teacher(make)


def from_npz(*, path: str) -> Teacher:
    """Return a teacher with a bank from a file: the first array [L, M, N] of an npz.

    path: such as one of the authors' downloads.
    Gives 'noise_bank' f32[L, M, N].
    Raises BankError where the file is missing, is not an npz or holds Python objects, or where its
    first array is not a three-dimensional array of finite real numbers.
    Source: change_color_pattern of models/utils/masking_generator.py, carlosh93/ColorMAE, which
    takes the first array too; its README links the files.
    Difference: values become f32; the official code ranks in the file's type.
    """
    patterns = read_patterns(Path(path).expanduser())
    return _bank_teacher(lambda: jnp.asarray(patterns))


def read_patterns(path: Path) -> np.ndarray:
    """Return the first array of an npz as f32[L, M, N].

    Raises BankError as `from_npz` does.
    """
    if not path.is_file():
        raise BankError(
            f"no noise bank at {path}: give the npz file to teachers.<name>.path, or make a bank "
            "with maskmim.teachers.noise_bank.generated"
        )
    if not zipfile.is_zipfile(path):
        raise BankError(f"noise bank {path} is not an npz file")
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


def _bank_teacher(make: Callable[[], Array]) -> Teacher:
    """Return a teacher that gives a bank before the mask is drawn."""

    def freeze() -> Tree:
        return {"bank": make()}

    def find(
        net: Net, extra: Tree, frozen: Mapping[str, Array], context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        return {"noise_bank": frozen["bank"]}

    return stateless(("noise_bank",), False, find, freeze=freeze)
