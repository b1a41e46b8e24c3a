"""Configs: what config files, flags and stored configs are made of.

A config file imports what it needs from here:

    from maskmim.config import base, brick, parse_argument
"""

from maskmim.config.bricks import BrickError, bind, brick, resolve
from maskmim.config.defaults import base
from maskmim.config.load import add, load, override
from maskmim.config.parse import ConfigError
from maskmim.config.python_file import parse_argument
from maskmim.config.serialize import from_json, to_json

__all__ = [
    "BrickError",
    "ConfigError",
    "add",
    "base",
    "bind",
    "brick",
    "from_json",
    "load",
    "override",
    "parse_argument",
    "resolve",
    "to_json",
]
