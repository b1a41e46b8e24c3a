"""The command line that the commands share."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from maskmim import errors
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.config.print_config import print_config


def command_line(
    argv: Sequence[str] | None,
    *,
    description: str | None,
    config: bool = True,
    workdir: bool = True,
    overrides: bool = False,
    flags: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> argparse.Namespace:
    """Parse the command line of a command.

    argv:        arguments without the program, None for sys.argv.
    description: text of --help, the module's docstring.
    config:      take --config FILE[:ARGUMENT], --config.KEY=VALUE and --print-config; the
                 result's `config` is what `load` returns.
    workdir:     take --workdir DIR; the result's `workdir` is a Path.
    overrides:   for commands that read a stored config instead: take --config.KEY=VALUE; the
                 result's `overrides` are texts for `override`.
    flags:       {name: help} of switches, False unless given.
    options:     {name: 'VALUE: help'} of texts, None unless given; VALUE stands in --help.
    Raises ConfigError for a wrong command line; --help and --print-config print and raise
    SystemExit(0).
    """
    parser = _parser(description, config, workdir, flags or {}, options or {})
    words = list(sys.argv[1:] if argv is None else argv)
    changes: list[str] = []
    if config or overrides:
        words, changes = _split_overrides(words)
    result, unknown = parser.parse_known_args(words)
    if unknown:
        raise ConfigError(_unknown_argument(unknown[0], ["help", *vars(result)]))
    if config:
        result.config = load(_given(result, "config"), changes)
        if result.print_config:
            print(print_config(result.config))
            raise SystemExit(errors.DONE)
    if workdir:
        result.workdir = Path(_given(result, "workdir"))
    result.overrides = changes
    return result


def _given(result: argparse.Namespace, name: str) -> str:
    """Return the value of a flag; ConfigError where it is missing."""
    value = getattr(result, name)
    if value is None:
        raise ConfigError(f"--{name} is missing; --help shows the use")
    return value


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises ConfigError instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def _parser(
    description: str | None,
    config: bool,
    workdir: bool,
    flags: Mapping[str, str],
    options: Mapping[str, str],
) -> _Parser:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    parser = _Parser(
        prog=f"python -m {spec.name}" if spec else None,
        description=description,
        epilog=f"Exit codes\n\n{errors.exit_code_table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if config:
        parser.add_argument(
            "--config",
            metavar="NAME[:ARGUMENT]",
            help="config file, or its name in configs/, as mae:variant=L/16; --config.KEY=VALUE "
            "changes one value, as --config.mask.ratio=0.6",
        )
        parser.add_argument(
            "--print-config",
            action="store_true",
            help="print every key with its value, type and default, and leave",
        )
    if workdir:
        parser.add_argument("--workdir", metavar="DIR", help="folder of the run")
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    for name, text in options.items():
        value, _, rest = text.partition(": ")
        parser.add_argument(f"--{name}", metavar=value, help=rest)
    return parser


def _split_overrides(words: list[str]) -> tuple[list[str], list[str]]:
    """Return (other arguments, overrides) from '--config.a=1' and '--config.a 1'."""
    others, changes = [], []
    rest = iter(words)
    for word in rest:
        if not word.startswith("--config."):
            others.append(word)
            continue
        text = word.removeprefix("--config.")
        if "=" not in text:
            value = next(rest, None)
            if value is None or value.startswith("--"):
                raise ConfigError(f"{word} needs a value: {word}=VALUE")
            text = f"{text}={value}"
        changes.append(text)
    return others, changes


def _unknown_argument(word: str, names: Sequence[str]) -> str:
    """Return what is wrong with an unknown argument, and the nearest known flag."""
    known = sorted(f"--{name.replace('_', '-')}" for name in names)
    if not word.startswith("-"):
        return f"unexpected argument {word!r}; flags are {', '.join(known)}"
    flag = word.partition("=")[0]
    head, dot, key = flag.partition(".")
    near = difflib.get_close_matches(head, known, 1, 0.6)
    if near:
        return f"unknown flag {flag!r}; did you mean {near[0]}{dot}{key}?"
    if dot and "--config" in known:
        return f"unknown flag {flag!r}; did you mean --config.{flag.lstrip('-')}?"
    return f"unknown flag {flag!r}; there are {', '.join(known)}"
