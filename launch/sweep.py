"""Writes the commands of a sweep over config values, or runs them one after the other.

  python launch/sweep.py --config configs/colormae.py:tiny --workdir runs/sweep \\
      --product mask.ratio=0.6,0.75 seed=0,1,2

One line each: `--config configs/colormae.py:tiny --config.mask.ratio=0.6 --config.seed=0 --workdir
runs/sweep/mask.ratio=0.6,seed=0`, arguments of maskmim.train, quoted for a shell.

--product  every combination of the values. --zip: the first values together, the second, ...
--run      runs `python -m maskmim.train` with them here instead of printing; stops at the first
           that fails for good.
Everything else on the line is handed on. Values are divided at commas; one with commas of its own
is given in brackets or parentheses, as --product 'data.augment.scale=(0.2,1.0),(0.5,1.0)'.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAVED = 75

Setting = tuple[str, str]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns an exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="FILE[:ARGUMENT]")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of the runs' folders")
    parser.add_argument("--product", nargs="+", default=[], metavar="KEY=V1,V2")
    parser.add_argument("--zip", nargs="+", default=[], metavar="KEY=V1,V2")
    parser.add_argument("--run", action="store_true", help="run them here, one after the other")
    options, rest = parser.parse_known_args(argv)
    try:
        runs = list(settings(options.product, options.zip))
    except ValueError as error:
        parser.error(str(error))
    lines = [command(options.config, options.workdir, chosen, rest) for chosen in runs]
    if not options.run:
        print("\n".join(shlex.join(line) for line in lines))
        return 0
    for number, line in enumerate(lines, start=1):
        print(f"sweep: run {number} of {len(lines)}: {line[-1]}", file=sys.stderr, flush=True)
        code = subprocess.run([sys.executable, "-m", "maskmim.train", *line], cwd=ROOT).returncode
        if code:
            print(f"sweep: exit code {code}; the same command continues", file=sys.stderr)
            return code
    return 0


def settings(product: Sequence[str], together: Sequence[str]) -> Iterator[tuple[Setting, ...]]:
    """Every combination of the product with every row of what is zipped.

    Raises ValueError for text without '=', keys given twice, and zipped keys with other numbers of
    values.
    """
    columns = [values_of(text) for text in product]
    rows = [values_of(text) for text in together]
    keys = [column[0][0] for column in [*columns, *rows]]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is given twice")
    if len({len(row) for row in rows}) > 1:
        counts = ", ".join(f"{row[0][0]} has {len(row)}" for row in rows)
        raise ValueError(f"zipped keys need as many values each: {counts}")
    zipped = list(zip(*rows, strict=True)) if rows else [()]
    for chosen in itertools.product(*columns):
        for row in zipped:
            yield (*chosen, *row)


def values_of(text: str) -> list[Setting]:
    """'key=a,b' as [('key', 'a'), ('key', 'b')]; commas in brackets and quotes divide nothing."""
    key, equals, values = text.partition("=")
    if not (key and equals and values):
        raise ValueError(f"{text!r} is no KEY=VALUE,VALUE")
    parts, depth, quote = [""], 0, ""
    for letter in values:
        if letter in "\"'":
            quote = "" if quote == letter else quote or letter
        elif not quote:
            depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [(key, part) for part in parts]


def command(config: str, workdir: str, chosen: Sequence[Setting], rest: Sequence[str]) -> list[str]:
    """The arguments of maskmim.train for one run; its folder is named after what differs."""
    flags = [f"--config.{key}={value}" for key, value in chosen]
    name = ",".join(f"{key}={shortened(key, value)}" for key, value in chosen)
    safe = "".join(letter if letter.isalnum() or letter in "=,.-_" else "_" for letter in name)
    return ["--config", config, *flags, *rest, "--workdir", str(Path(workdir) / (safe or "run"))]


def shortened(key: str, value: str) -> str:
    """A value in a folder's name: of a brick's path the function alone."""
    return value.rpartition(".")[2] if key.endswith("brick") else value


if __name__ == "__main__":
    sys.exit(main())
