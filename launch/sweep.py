"""Writes the commands of a sweep over config values, or submits them.

  python launch/sweep.py --config configs/colormae.py:tiny --workdir runs/sweep \\
      --product mask.ratio=0.6,0.75 seed=0,1,2

One line each: `--config configs/colormae.py:tiny --config.mask.ratio=0.6 --config.seed=0 --workdir
runs/sweep/mask.ratio=0.6,seed=0`, arguments of maskmim.train, quoted for a shell.

--product  every combination of the values. --zip: the first values together, the second, ...
--submit   local: with launch/local.sh here, one after the other; stops at the first that fails
           slurm: as one array job of launch/slurm.sbatch; the lines go to DIR/commands-HASH.txt
           xpk:   a workload each, by launch/xpk.sh and its variables, named NAME-1, NAME-2, ...
           sky:   a managed job each, of launch/sky.yaml, with the same names
--name     NAME (default sweep)
--with     more words for sbatch or sky, as --with='--nodes=2 --partition=gpu'
--dry-run  shows what --submit would run

Everything else on the line is handed on. Values are divided at commas; one with commas of its own
is given in brackets or parentheses, as --product 'data.augment.scale=(0.2,1.0),(0.5,1.0)'.

Every config is loaded before anything is written or submitted. A sweep with a key that does not
exist, with two runs in one folder, or with a run whose folder holds another config, is refused. The
same sweep again continues what is there.
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

from maskmim import errors
from maskmim.checkpoints.workdir import check_continues, load_config
from maskmim.config.command_line import command_line  # noqa: E402
from maskmim.files import write_atomic  # noqa: E402
from maskmim.runtime import exits, processes  # noqa: E402

# Of a folder's name, in bytes; file systems allow 255, and names grow with the number of keys.
LONGEST = 200

Setting = tuple[str, str]
Line = list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns an exit code."""
    options, rest = parser().parse_known_args(argv)
    with contextlib.chdir(ROOT):  # as the launch scripts do: relative paths are the checkout's
        return sweep(options, rest)


def sweep(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Prints or submits the runs; returns an exit code."""
    runs = settings(options.product, options.zip)
    lines = [command(options.config, options.workdir, chosen, rest) for chosen in runs]
    check(lines)
    if not options.submit:
        print("\n".join(shlex.join(line) for line in lines))
        return errors.DONE
    for number, words in enumerate(submissions(options, lines), start=1):
        print(f"sweep {number}: {shlex.join(words)}", file=sys.stderr, flush=True)
        if options.dry_run:
            continue
        code = subprocess.run(words, env=surroundings(options)).returncode
        if code:
            print(f"sweep: exit code {code}; the same command continues", file=sys.stderr)
            return code
    return errors.DONE


def parser() -> argparse.ArgumentParser:
    """The script's own flags."""
    made = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--config", required=True, metavar="FILE[:ARGUMENT]")
    made.add_argument("--workdir", required=True, metavar="DIR", help="of the runs' folders")
    made.add_argument("--product", nargs="+", default=[], metavar="KEY=V1,V2")
    made.add_argument("--zip", nargs="+", default=[], metavar="KEY=V1,V2")
    made.add_argument("--submit", choices=("local", "slurm", "xpk", "sky"))
    made.add_argument("--name", default="sweep", help="of workloads and jobs")
    made.add_argument("--with", dest="words", default="", metavar="WORDS")
    made.add_argument("--dry-run", action="store_true", help="show what --submit would run")
    return made


class SweepError(errors.UserError, ValueError):
    """What cannot be a sweep."""


def settings(product: Sequence[str], together: Sequence[str]) -> Iterator[tuple[Setting, ...]]:
    """Every combination of the product with every row of what is zipped.

    Raises SweepError for text without '=', keys given twice, and zipped keys with other numbers of
    values.
    """
    columns = [values_of(text) for text in product]
    rows = [values_of(text) for text in together]
    keys = [column[0][0] for column in [*columns, *rows]]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise SweepError(f"{', '.join(twice)} is given twice")
    if len({len(row) for row in rows}) > 1:
        counts = ", ".join(f"{row[0][0]} has {len(row)}" for row in rows)
        raise SweepError(f"zipped keys need as many values each: {counts}")
    zipped = list(zip(*rows, strict=True)) if rows else [()]
    for chosen in itertools.product(*columns):
        for row in zipped:
            yield (*chosen, *row)


def values_of(text: str) -> list[Setting]:
    """'key=a,b' as [('key', 'a'), ('key', 'b')]; commas in brackets and quotes divide nothing."""
    key, equals, values = text.partition("=")
    if not (key and equals and values):
        raise SweepError(f"{text!r} is no KEY=VALUE,VALUE")
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


def command(config: str, workdir: str, chosen: Sequence[Setting], rest: Sequence[str]) -> Line:
    """The arguments of maskmim.train for one run; its folder is named after what differs."""
    flags = [f"--config.{key}={value}" for key, value in chosen]
    return ["--config", config, *flags, *rest, "--workdir", str(Path(workdir) / folder(chosen))]


def folder(chosen: Sequence[Setting]) -> str:
    """The name of a run's folder: its settings; where they are long their beginning and a hash."""
    name = ",".join(f"{key}={shortened(key, value)}" for key, value in chosen) or "run"
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "=,.-_") else "_" for c in name)
    return safe if len(safe) <= LONGEST else f"{safe[:LONGEST]}-{digest(repr(chosen))}"


def shortened(key: str, value: str) -> str:
    """A value in a folder's name: of a brick's path the function alone."""
    return value.rpartition(".")[2] if key.endswith("brick") else value


def digest(text: str) -> str:
    """Eight letters that change with the text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def check(lines: Sequence[Line]) -> None:
    """Loads every config as the training will.

    Raises ConfigError for one that cannot be right or that does not continue what its folder holds,
    SweepError for two runs in one folder.
    """
    seen: set[str] = set()
    for line in lines:
        if line[-1] in seen:
            raise SweepError(f"two runs would share the folder {line[-1]}: name their values apart")
        seen.add(line[-1])
        found = command_line(line, description=None, options=processes.FLAGS)
        stored = found.workdir / "config.json"
        if stored.exists() and any((found.workdir / "checkpoints").glob("[0-9]*")):
            check_continues(load_config(found.workdir), found.config, found.workdir)


def submissions(options: argparse.Namespace, lines: Sequence[Line]) -> list[Line]:
    """The commands that submit the runs, one each, or one for all where there is an array."""
    words = shlex.split(options.words)
    if words and options.submit not in ("slurm", "sky"):
        raise SweepError(f"--with is for sbatch and sky; {options.submit} takes variables")
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
    """Writes the file whose lines the tasks of an array run, and run again when they requeue.

    Its name holds a hash of the lines: another sweep into the same folder leaves it alone.
    """
    text = "".join(f"{shlex.join(line)}\n" for line in lines)
    path = Path(options.workdir).absolute() / f"commands-{digest(text)}.txt"
    if not options.dry_run:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
    return path


def surroundings(options: argparse.Namespace) -> dict[str, str]:
    """The environment of what is submitted: this Python trains, unless PYTHON names another."""
    if options.submit in ("local", "slurm"):
        return {"PYTHON": sys.executable, **os.environ}
    return dict(os.environ)


if __name__ == "__main__":
    sys.exit(exits.run(main))
