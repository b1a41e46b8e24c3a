"""Print the commands of a sweep over config values, or submit them.

  python launch/sweep.py --config configs/colormae.py:tiny --workdir runs/sweep \\
      --product mask.ratio=0.6,0.75 seed=0,1,2

Prints a line for each run, the arguments of maskmim.train quoted for a shell:
  --config configs/colormae.py:tiny --config.mask.ratio=0.6 --config.seed=0 \\
      --workdir runs/sweep/mask.ratio=0.6,seed=0

--product  every combination of the values
--zip      the first values of all keys together, then the second values, ...
--submit   local: with launch/local.sh here, one after the other; stops at the first that fails
           slurm: as one array job of launch/slurm.sbatch; the lines go to DIR/commands-HASH.txt
           xpk:   a workload each, by launch/xpk.sh and its variables, named NAME-1, NAME-2, ...
           sky:   a managed job each, of launch/sky.yaml, with the same names
--name     NAME (default sweep)
--with     more words for sbatch or sky, as --with='--nodes=2 --partition=gpu'
--dry-run  shows what --submit would run

All other arguments go to maskmim.train. Commas separate values; put a value that contains commas in
brackets or parentheses, as --product 'data.augment.scale=(0.2,1.0),(0.5,1.0)'.

Every config is loaded before anything is written or submitted. A sweep is refused if it has an
unknown key, two runs in one folder, or a run whose folder holds another config. The same sweep
again continues its runs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from maskmim import errors  # noqa: E402
from maskmim.checkpoints.workdir import check_changes, load_config  # noqa: E402
from maskmim.config.command_line import Parser, command_line  # noqa: E402
from maskmim.files import write_atomic  # noqa: E402
from maskmim.runtime import exits, processes  # noqa: E402

# Bytes of a folder's name; file systems allow 255, and names grow with the number of keys.
LONGEST = 200

Setting = tuple[str, str]
Line = list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return an exit code."""
    options, rest = make_parser().parse_known_args(argv)
    with contextlib.chdir(ROOT):  # as the launch scripts: paths are relative to the checkout
        return run_sweep(options, rest)


def run_sweep(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Print or submit the runs; return an exit code."""
    runs = combine_settings(options.product, options.zip)
    lines = [train_arguments(options.config, options.workdir, chosen, rest) for chosen in runs]
    check_runs(lines)
    if not options.submit:
        print("\n".join(shlex.join(line) for line in lines))
        return errors.DONE
    for number, words in enumerate(submit_commands(options, lines), start=1):
        print(f"sweep {number}: {shlex.join(words)}", file=sys.stderr, flush=True)
        if options.dry_run:
            continue
        code = subprocess.run(words, env=submit_environment(options)).returncode
        if code:
            print(f"sweep: exit code {code}; the same command continues", file=sys.stderr)
            return code
    return errors.DONE


def make_parser() -> Parser:
    """Return the parser of the script's own flags."""
    flags = Parser(description=__doc__)
    flags.add_argument("--config", required=True, metavar="FILE[:ARGUMENT]")
    flags.add_argument("--workdir", required=True, metavar="DIR", help="of the runs' folders")
    flags.add_argument("--product", nargs="+", default=[], metavar="KEY=V1,V2")
    flags.add_argument("--zip", nargs="+", default=[], metavar="KEY=V1,V2")
    flags.add_argument("--submit", choices=("local", "slurm", "xpk", "sky"))
    flags.add_argument("--name", default="sweep", help="of workloads and jobs")
    flags.add_argument("--with", dest="words", default="", metavar="WORDS")
    flags.add_argument("--dry-run", action="store_true", help="show what --submit would run")
    return flags


class SweepError(errors.UserError, ValueError):
    """Arguments that do not make a sweep."""


def combine_settings(
    product: Sequence[str], together: Sequence[str]
) -> Iterator[tuple[Setting, ...]]:
    """Yield every combination of the product's values with every row of the zipped ones.

    Raises SweepError for text without '=', for keys given twice, and for zipped keys with different
    numbers of values.
    """
    columns = [parse_values(text) for text in product]
    rows = [parse_values(text) for text in together]
    keys = [column[0][0] for column in [*columns, *rows]]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise SweepError(f"{', '.join(twice)} is given twice: give all values of a key at once")
    if len({len(row) for row in rows}) > 1:
        counts = ", ".join(f"{row[0][0]} has {len(row)}" for row in rows)
        raise SweepError(f"--zip needs as many values for each key: {counts}")
    zipped = list(zip(*rows, strict=True)) if rows else [()]
    for chosen in itertools.product(*columns):
        for row in zipped:
            yield (*chosen, *row)


def parse_values(text: str) -> list[Setting]:
    """Split 'key=a,b' into [('key', 'a'), ('key', 'b')], not at commas in brackets or quotes."""
    key, equals, values = text.partition("=")
    if not (key and equals and values):
        raise SweepError(f"{text!r} does not have the form KEY=VALUE,VALUE")
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


def train_arguments(
    config: str, workdir: str, chosen: Sequence[Setting], rest: Sequence[str]
) -> Line:
    """Return the arguments of maskmim.train for one run, in a folder named after its settings."""
    flags = [f"--config.{key}={value}" for key, value in chosen]
    return ["--config", config, *flags, *rest, "--workdir", str(Path(workdir) / run_name(chosen))]


def run_name(chosen: Sequence[Setting]) -> str:
    """Return the name of a run's folder: its settings, or their start and a hash if long."""
    name = ",".join(f"{key}={short_value(key, value)}" for key, value in chosen) or "run"
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "=,.-_") else "_" for c in name)
    return safe if len(safe) <= LONGEST else f"{safe[:LONGEST]}-{digest(repr(chosen))}"


def short_value(key: str, value: str) -> str:
    """Return a value as written in a folder's name: of a brick's path the function alone."""
    return value.rpartition(".")[2] if key.endswith("brick") else value


def digest(text: str) -> str:
    """Return the first eight hexadecimal digits of a text's sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def check_runs(lines: Sequence[Line]) -> None:
    """Load every config as the training will.

    Raises ConfigError for one that is invalid or does not continue the run in its folder,
    SweepError for two runs in one folder.
    """
    seen: set[str] = set()
    for line in lines:
        if line[-1] in seen:
            raise SweepError(
                f"two runs would share the folder {line[-1]}: give them different values"
            )
        seen.add(line[-1])
        options = command_line(line, description=None, options=processes.FLAGS)
        workdir = options.workdir
        has_checkpoint = any((workdir / "checkpoints").glob("[0-9]*"))
        if has_checkpoint and (workdir / "config.json").exists():
            check_changes(load_config(workdir), options.config, workdir)


def submit_commands(options: argparse.Namespace, lines: Sequence[Line]) -> list[Line]:
    """Return the commands that submit the runs: one for each, or one array job for all."""
    words = shlex.split(options.words)
    if words and options.submit not in ("slurm", "sky"):
        raise SweepError(f"--with is for slurm and sky; set variables for {options.submit} instead")
    if options.submit == "local":
        return [["launch/local.sh", *line] for line in lines]
    if options.submit == "xpk":
        named = enumerate(lines, start=1)
        return [["launch/xpk.sh", f"{options.name}-{number}", *line] for number, line in named]
    if options.submit == "sky":
        sky = "launch/sky.yaml"
        job = ["sky", "jobs", "launch", "--yes", "--detach-run", *words]
        return [
            [*job, f"--name={options.name}-{n}", f"--env=ARGUMENTS={shlex.join(line)}", sky]
            for n, line in enumerate(lines, start=1)
        ]
    array = [f"--job-name={options.name}", f"--array=1-{len(lines)}", *words]
    commands = write_commands(options, lines)
    return [["env", f"COMMANDS={commands}", "sbatch", *array, "launch/slurm.sbatch"]]


def write_commands(options: argparse.Namespace, lines: Sequence[Line]) -> Path:
    """Write a file with a line for each task of an array job, which reads it again on requeue.

    Its name has a hash of the lines, so that another sweep into the same folder leaves it alone.
    """
    text = "".join(f"{shlex.join(line)}\n" for line in lines)
    path = Path(options.workdir).absolute() / f"commands-{digest(text)}.txt"
    if not options.dry_run:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
    return path


def submit_environment(options: argparse.Namespace) -> dict[str, str]:
    """Return the environment for submitting: this Python trains, unless PYTHON names another."""
    if options.submit in ("local", "slurm"):
        return {"PYTHON": sys.executable, **os.environ}
    return dict(os.environ)


if __name__ == "__main__":
    sys.exit(exits.run(main))
