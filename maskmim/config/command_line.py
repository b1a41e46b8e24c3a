"""The command line that the commands share."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from ml_collections import ConfigDict

from maskmim import errors
from maskmim.config.defaults import base
from maskmim.config.keys import did_you_mean, find_keys, keys_ending
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.config.print_config import print_config

# Other codebases' names of flags.
FLAGS = {f"--{name}": "--workdir" for name in ("logdir", "log-dir", "output-dir", "save-dir")}


def command_line(
    argv: Sequence[str] | None,
    *,
    description: str | None,
    config: bool = True,
    workdir: bool = True,
    overrides: Sequence[str] = (),
    flags: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> argparse.Namespace:
    """Parse the command line of a command.

    argv:        arguments without the program, None for sys.argv.
    description: text of --help, the module's docstring.
    config:      take --config FILE[:ARGUMENT], --config.KEY=VALUE and --print-config; the
                 result's `config` is what `load` returns.
    workdir:     take --workdir DIR; the result's `workdir` is a Path.
    overrides:   for commands that read a stored config instead: the sections whose keys they
                 change; take --config.KEY=VALUE, the result's `overrides` are texts for `override`.
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
        keys = _known_keys(result.config) if config else _sections(overrides)
        raise ConfigError(_unknown_argument(unknown, ["help", *vars(result)], keys))
    if config:
        result.config = load(_given(result, "config"), changes)
        if result.print_config:
            print(print_config(result.config))
            raise SystemExit(errors.DONE)
    if workdir:
        result.workdir = path(_given(result, "workdir"))
    result.overrides = changes
    return result


def _given(result: argparse.Namespace, name: str) -> str:
    """Return the value of a flag; ConfigError where it is missing."""
    value = getattr(result, name)
    if value is None:
        raise ConfigError(f"--{name} is missing; --help shows the use")
    return value


def path(text: str) -> Path:
    """Return the path that a text names, with '~' as the user's home folder."""
    return Path(os.path.expanduser(text))


class Parser(argparse.ArgumentParser):
    """An argparse parser in the style of the commands, with the exit codes below its help.

    Raises ConfigError, in one sentence, where argparse prints its usage and leaves. Flags cannot be
    abbreviated, as a flag of a later version would change what they mean.
    """

    def __init__(self, *, description: str | None):
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        super().__init__(
            prog=f"python -m {spec.name}" if spec else None,
            description=description,
            epilog=f"Exit codes\n\n{errors.exit_code_table()}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse the arguments; raise ConfigError for unknown ones, naming the nearest flag."""
        result, unknown = self.parse_known_args(args, namespace)
        if unknown:
            raise ConfigError(_unknown_argument(unknown, ["help", *vars(result)]))
        return result

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError with argparse's message."""
        raise ConfigError(f"{message.removeprefix('argument ')}; --help shows the flags")


def number(text: str) -> float:
    """Return the number that a text stands for: a type of argparse."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def whole_number(text: str) -> int:
    """Return the whole number that a text stands for: a type of argparse."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def positive_number(text: str) -> int:
    """Return the whole number of at least 1 that a text stands for: a type of argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def thread_count(text: str) -> int:
    """Return the number of threads, 1 to 1024, that a text stands for: a type of argparse."""
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 1024, got {text!r}")
    return int(text)


def _parser(
    description: str | None,
    config: bool,
    workdir: bool,
    flags: Mapping[str, str],
    options: Mapping[str, str],
) -> Parser:
    parser = Parser(description=description)
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


def _known_keys(name: str | None) -> ConfigDict:
    """Return the config of a name to look for keys in; the defaults where it cannot be loaded."""
    try:
        return load(name) if name else base()
    except ConfigError:  # the flag is wrong, whatever is wrong with the file
        return base()


def _sections(names: Sequence[str]) -> ConfigDict:
    """Return the sections of these names of the default config."""
    return ConfigDict({name: base()[name] for name in names})


def _unknown_argument(
    words: Sequence[str], names: Sequence[str], keys: ConfigDict | None = None
) -> str:
    """Return what is wrong with the first of the unknown arguments, and what may be meant.

    names: of known flags. keys: the config whose keys may be meant, '--lr' for --config.optim.lr.
    """
    known = sorted(f"--{name.replace('_', '-')}" for name in names)
    flag, equals, value = words[0].partition("=")
    is_flag = flag.startswith("-")
    if is_flag and not equals and len(words) > 1 and not words[1].startswith("--"):
        equals, value = "=", words[1]
    what = f"unknown flag {flag!r}" if is_flag else f"unexpected argument {words[0]!r}"
    word = flag.lstrip("-").removeprefix("config.")
    if keys is not None and (meant := keys_ending(keys, word)):
        return what + did_you_mean(meant, "--config.", f"{equals}{value}")
    if not is_flag:
        return f"{what}; flags are {', '.join(known)}"
    head, dot, key = flag.partition(".")
    head = FLAGS.get(head.replace("_", "-"), head)
    near = difflib.get_close_matches(head, known, 1, 0.75)
    if near:
        return f"{what}; did you mean {near[0]}{dot}{key}?"
    if keys is not None and (meant := find_keys(keys, word)):
        return what + did_you_mean(meant, "--config.", f"{equals}{value}")
    return f"{what}; there are {', '.join(known)}"
