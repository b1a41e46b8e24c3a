"""The command line that all commands share: `--config FILE[:arg] --workdir DIR --config.a.b=value`.

absl's config_flags parses the same syntax, but its errors come as tracebacks from inside absl, before
`main` could turn them into a sentence; hence argparse with `configuration.load`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from maskmim.configuration import ConfigError, load, nearest


def parse(
    argv: Sequence[str] | None,
    *,
    description: str,
    required: Sequence[str] = ("config", "workdir"),
    options: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> argparse.Namespace:
    """Reads a command line; `config` comes back as a locked config with the overrides applied.

    required: which of 'config' and 'workdir' the command takes; both are then required.
    options, flags: {name: help} of further options with a text value, and of switches.
    Raises ConfigError for unknown flags and for whatever is wrong with the config.
    """
    options, flags = options or {}, flags or {}
    parser = argparse.ArgumentParser(
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="--config.KEY=VALUE changes one value of the config, as --config.mask.ratio=0.6",
    )
    about = {
        "config": "config file, with an argument after a colon: configs/mae.py:epochs=800",
        "workdir": "folder of the run: config, metrics, pictures, checkpoints, results",
    }
    for name in required:
        parser.add_argument(f"--{name}", required=True, help=about[name])
    for name, text in options.items():
        parser.add_argument(f"--{name}", default="", help=text)
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    known, rest = parser.parse_known_args(sys.argv[1:] if argv is None else list(argv))
    overrides = _overrides(rest, [f"--{name}" for name in (*required, *options, *flags)])
    if "config" in required:
        known.config = load(known.config, overrides)
    else:
        known.overrides = overrides
    return known


def _overrides(rest: Sequence[str], flags: Sequence[str]) -> list[tuple[str, str]]:
    """(key, text) of the `--config.key=text` and `--config.key text` left on a command line."""
    found = []
    words = iter(rest)
    for word in words:
        name, equals, text = word.partition("=")
        if not name.startswith("--config."):
            hint = nearest(name, [*flags, "--config.KEY"])
            raise ConfigError(f"unknown flag {name}{hint}")
        if not equals:
            text = next(words, None)
            if text is None:
                raise ConfigError(f"{name} needs a value: {name}=VALUE")
        found.append((name.removeprefix("--config."), text))
    return found
