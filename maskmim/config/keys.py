"""The keys of a config by what users call them: misspelt, without their section, by other names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence

from ml_collections import ConfigDict

from maskmim.config.check import kind_at
from maskmim.config.sections import annotation_at, takes_bricks

# Other codebases' names of keys.
ALIASES = {
    "accum_iter": "micro_batches",
    "accumulation_steps": "micro_batches",
    "blr": "lr",
    "bs": "batch_size",
    "data_path": "train.path",
    "finetune": "begin.file",
    "image_size": "input.size",
    "img_size": "input.size",
    "input_size": "input.size",
    "learning_rate": "lr",
    "num_workers": "workers",
    "pretrained": "begin.file",
    "random_seed": "seed",
    "wd": "weight_decay",
}
# Sections whose keys are meant last where others have keys of the same name.
LAST = ("checkpoint", "evals", "log", "mesh", "process", "teachers")
MOST = 3
# How alike names are that are taken for each other, a ratio of difflib: of whole paths, of what
# differs in them, and of names in other sections.
NEAR, NEAR_INSIDE, NEAR_ELSEWHERE = 0.6, 0.7, 0.85


def key_paths(config: ConfigDict, prefix: str = "") -> Iterator[str]:
    """Yield the dotted paths of all values; sections are not values."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from key_paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def keys_ending(config: ConfigDict, word: str) -> list[str]:
    """Return the keys that end in a word, the likeliest first: 'lr' -> ['optim.lr'].

    word: '-' and '_' may stand for any '.' and '_', as in 'batch-size' and 'mask_ratio'; or a name
    of `ALIASES`; or a section with a brick. Keys of the sections LAST are left out where others
    have the word.
    """
    plain = word.replace("-", "_")
    parts = re.split(r"[._]", ALIASES.get(plain, plain))
    end = re.compile(rf"(^|\.){'[._]'.join(map(re.escape, parts))}(\.brick)?$")
    return _likeliest(path for path in key_paths(config) if end.search(path))


def find_keys(config: ConfigDict, word: str) -> list[str]:
    """Return the keys that end in a word, or else the nearest ones, the likeliest first."""
    found = keys_ending(config, word)
    if found:
        return found
    if word.replace("-", "_") in ALIASES:
        return []
    paths = list(key_paths(config))
    near = difflib.get_close_matches(word, paths, MOST, NEAR)
    if alike := [path for path in near if _differs_little(word, path)]:
        return alike[:1]
    section, _, name = word.replace("-", "_").rpartition(".")
    names = {path.rpartition(".")[2] for path in paths}
    near = difflib.get_close_matches(name, names, 1, NEAR_ELSEWHERE if section else NEAR)
    return _likeliest(path for path in paths if path.rpartition(".")[2] in near)


def _differs_little(word: str, path: str) -> bool:
    """Return whether two paths are alike below the sections that they share."""
    steps, others = word.split("."), path.split(".")
    while steps and others and steps[0] == others[0]:
        del steps[0], others[0]
    rest, other = ".".join(steps), ".".join(others)
    if rest in other or other in rest:
        return True
    return difflib.SequenceMatcher(None, other, rest).ratio() >= NEAR_INSIDE


def _likeliest(paths: Iterable[str]) -> list[str]:
    """Return at most MOST paths, in order: short ones first, without LAST if there are others."""
    ordered = sorted(paths, key=lambda path: (path.count("."), path))
    return ([path for path in ordered if path.partition(".")[0] not in LAST] or ordered)[:MOST]


def unknown_key(config: ConfigDict, path: str) -> str:
    """Return what is wrong with a key that the config lacks: the nearest, and what there is."""
    section, inside, name = config, "", path
    for step in path.split("."):
        name = step
        if step not in section or not isinstance(section[step], ConfigDict):
            break
        section, inside = section[step], f"{inside}{step}."
    problem = f"the config has no key {path!r}"
    if name in section and kind_at(annotation_at(config, f"{inside}{name}")):
        return f"{problem}: {inside}{name} is None, --config.{inside}{name}.brick=PATH sets a brick"
    if inside and takes_bricks(config, inside[:-1]):
        return problem + _unknown_entry(section, inside, path)
    hint = did_you_mean(find_keys(config, path))
    if hint and not inside:
        return f"{problem}{hint}"
    owner = f"{inside[:-1]} has" if inside else "its sections are"
    return f"{problem}{hint or ';'} {owner} {', '.join(section) or 'no keys'}"


def _unknown_entry(section: ConfigDict, inside: str, path: str) -> str:
    """Return the nearest entry of a section of bricks, those that it has, and how to add one."""
    name, dot, rest = path.removeprefix(inside).partition(".")
    near = difflib.get_close_matches(name, section, 1, NEAR)
    hint = did_you_mean([f"{inside}{each}{dot}{rest}" for each in near])
    there = f"{inside[:-1]} has {', '.join(section) or 'no entries'}"
    return f"{hint or ';'} {there}; --config.{inside}{name}.brick=PATH adds {name}"


def did_you_mean(keys: Sequence[str], prefix: str = "", end: str = "") -> str:
    """Return '; did you mean 'optim.lr'?' for likely keys, '' without any."""
    if not keys:
        return ""
    return f"; did you mean {' or '.join(repr(prefix + key + end) for key in keys)}?"
