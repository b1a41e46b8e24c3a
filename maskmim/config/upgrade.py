"""Bring a stored config to this version: moved paths, nested keywords, keys that are new."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from maskmim.config.bricks import MOVED, brick, hyperparameters, required, resolve
from maskmim.config.defaults import base, field, stream

# Sections whose plain keys are the same in every config; a later version may add some.
COMMON = (
    "input",
    "begin",
    "calls",
    "data",
    "train",
    "mesh",
    "checkpoint",
    "log",
    "process",
    "evals",
)
# Keywords of models in 0.1.0 that are keywords of their brick `compute` now.
COMPUTE = ("dtype", "remat", "unroll")

# Keywords that bricks no longer have, since another key of the config says the same.
GONE = {
    "maskmim.data.clips.random_clip": ("channels",),
    "maskmim.data.clips.centre_clip": ("channels",),
    "maskmim.data.decode.picture": ("channels",),
    "maskmim.data.sound.waveform": ("channels",),
    "maskmim.data.spectrograms.first_stretch": ("rate",),
    "maskmim.data.spectrograms.random_stretch": ("rate",),
    "maskmim.data.tones.tones": ("rate",),
}

# Keywords of bricks that have another name now.
RENAMED = {
    "maskmim.objectives.absolute": {"head": "call"},
    "maskmim.objectives.relative": {"head": "call"},
    "maskmim.teachers.token_loss.predicted": {"head": "call"},
}

# Kinds of streams, of configs in which the name of the stream said how it is shown.
SHOWN = {"audio": "maskmim.modalities.spectrogram", "video": "maskmim.modalities.clip"}


def upgrade(config: ConfigDict) -> ConfigDict:
    """Return a stored config, changed in place, as this version would have stored it.

    Paths of bricks that moved are replaced, keywords that became those of a nested brick are
    nested, keywords that are gone are left out, and keys of sections and bricks that its version
    did not have get their defaults: a key that is new in a version has a default that leaves runs
    of earlier ones as they were.
    """
    with config.unlocked():
        _move_prototypes(config)
        _say_kind(config)
        _rename(config)
        defaults = base()
        for section in COMMON:
            if section not in config:
                config[section] = ConfigDict()
            for key, value in defaults[section].items():
                if key not in config[section] and not (isinstance(value, ConfigDict) and value):
                    config[section][key] = value
        if "ema" not in config:
            config.ema = defaults.ema
        _add_evaluations(config, defaults.evals)
        _declare_labels(config)
        _fill_streams(config)
    return config.lock()


def _add_evaluations(config: ConfigDict, defaults: ConfigDict) -> None:
    """Add the probes and measures that are new, for `evaluate` to run by their names."""
    for kind in ("probes", "measures"):
        if kind not in config.evals:
            config.evals[kind] = ConfigDict()
    for kind in ("probes", "measures"):
        for name, section in defaults[kind].items():
            if name not in config.evals.probes and name not in config.evals.measures:
                config.evals[kind][name] = section


def _rename(section: ConfigDict) -> None:
    """Replace moved paths and nest moved keywords, in a section and those inside it."""
    for name, value in section.items():
        section[name] = _renamed(value)
    if "brick" in section:
        for old, new in RENAMED.get(section.brick, {}).items():
            if old in section:
                section[new] = section[old]
                del section[old]
        for name in GONE.get(section.brick, ()):
            if name in section:
                del section[name]
        _nest(section)
        _fill(section)


def _move_prototypes(config: ConfigDict) -> None:
    """Make the prototypes, which the brick of the assignments had, a learned function."""
    if "clusters" in config and "clusters" in config.clusters:
        with config.clusters.unlocked():
            path, number = "maskmim.models.prototypes.prototypes", config.clusters.clusters
            config.calls = ConfigDict({"clusters": brick(path, clusters=number)})
            del config.clusters["clusters"]


def _say_kind(config: ConfigDict) -> None:
    """Give the input the kind that its stream's name stood for."""
    if "input" in config and "kind" not in config.input:
        stream = config.input.stream if "stream" in config.input else ""
        config.input.kind = brick(SHOWN.get(stream, "maskmim.modalities.image"))


def _declare_labels(config: ConfigDict) -> None:
    """Declare the classes that codes are conditioned on, which the condition had, as labels."""
    if "condition" in config and "classes" in config.condition:
        with config.condition.unlocked():
            if config.condition.classes:
                config.input.labels = {config.condition.label: config.condition.classes}
            else:
                config.condition.label = ""
            del config.condition["classes"]


def _fill_streams(config: ConfigDict) -> None:
    """Give further streams and fields the keys that their sections did not have."""
    for section, make in (("streams", stream), ("fields", field)):
        for entry in config.input[section].values():
            for key, value in make().items():
                if key not in entry:
                    entry[key] = value


def _renamed(value: Any) -> Any:
    if isinstance(value, ConfigDict):
        with value.unlocked():
            _rename(value)
        return value
    if isinstance(value, tuple):
        return tuple(_renamed(part) for part in value)
    return MOVED.get(value, value) if isinstance(value, str) else value


def _nest(section: ConfigDict) -> None:
    """Move the keywords COMPUTE of a brick that takes `compute` into that section."""
    known = hyperparameters(resolve(section.brick))
    if "compute" not in known:
        return
    moved = {name: section[name] for name in COMPUTE if name in section and name not in known}
    for name in moved:
        del section[name]
    if "compute" not in section:
        section["compute"] = brick(known["compute"].default, **moved)


def _fill(section: ConfigDict) -> None:
    """Give a brick the keywords that its function did not have when the config was stored."""
    fresh = brick(section.brick, **dict.fromkeys(required(section.brick)))
    for name in set(fresh) - set(section) - set(required(section.brick)):
        section[name] = fresh[name]
