"""Captions of synthetic scenes, made of their maps: what is there, and where it lies.

'apple left of pear in front of milk': objects from the nearest to the farthest, each with its place
relative to the next, then the photograph behind. Sentences have one form and some fifty words, so
that what is learnt from them does not carry over to captions of people.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from maskmim.config.ranges import NonNegative, Positive, PositiveInt, Seed
from maskmim.data.grocery import grocery
from maskmim.data.records import Example, manifest_digest
from maskmim.data.scenes import EIGHT, Objects, SceneRecords, Side, scenes
from maskmim.data.words import smallest_vocabulary, word_ids

# Objects, but for the nearest, and backgrounds of a smaller share of the picture are not named.
LEAST = 0.05
_FORM = ("left", "right", "above", "below", "of", "in", "front")
CAPTION_LENGTH = 16  # Four objects, three places, the background, start and end.


@functools.cache
def known_words() -> tuple[str, ...]:
    """Return all words of captions: those of their form, and the 43 coarse classes."""
    return (*_FORM, *(name.lower() for name in grocery(split="val").labels["coarse"]))


def word_count() -> int:
    """Return the size of the smallest vocabulary of captions, see `words.word_ids`."""
    return smallest_vocabulary(known_words())


def caption_ids(
    sentence: str, *, length: PositiveInt = CAPTION_LENGTH, vocabulary: PositiveInt | None = None
) -> np.ndarray:
    """Return a sentence of known words as i32[length], see `words.word_ids`.

    vocabulary: of the network; None for the smallest. Raises DataError as that does.
    """
    size = word_count() if vocabulary is None else vocabulary
    return word_ids(sentence, known_words(), length=length, vocabulary=size)


def caption_of(maps: Mapping[str, np.ndarray], classes: Sequence[str]) -> str:
    """Return the caption of a scene.

    maps:    'classes', 'instances' and 'order' u8[H, W, 1] of `scenes`. classes: their names.
    The nearest object is named always, others and the background where they show 5 % of the
    picture. Of two objects the larger distance of their middles decides, as a share of height or
    width, whether one is left of, right of, above or below the other.
    """
    flat = {name: maps[name][..., 0] for name in ("classes", "instances", "order")}
    shape = np.array(flat["order"].shape)
    words, last = [], None
    for order in _named(flat["order"]):
        inside = flat["order"] == order
        middle = np.argwhere(inside).mean(axis=0) / shape
        if last is not None:
            words.append(_place(last - middle))
        words.append(_name(flat["classes"], inside, classes))
        last = middle
    behind = flat["order"] == 0
    if behind.mean() >= LEAST:
        words.append(f"in front of {_name(flat['classes'], behind, classes)}")
    return " ".join(words)


class CaptionedScenes:
    """Scenes with their captions, the same at every reading; see `captioned_scenes`."""

    def __init__(self, records: SceneRecords, *, length: int, vocabulary: int | None):
        self.labels = {"object": records.classes}
        title = f"captions of {length} and {vocabulary} of {records.fingerprint}"
        self.fingerprint = manifest_digest([(title, len(records))])
        self._records, self._length, self._vocabulary = records, length, vocabulary

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        maps = self._records[index].encoded
        nearest = maps["order"] == maps["order"].max()
        caption = caption_ids(
            caption_of(maps, self._records.classes),
            length=self._length,
            vocabulary=self._vocabulary,
        )
        return Example(maps, {"object": int(maps["classes"][nearest][0])}, {"caption": caption})

    def name(self, index: int) -> str:
        """Return the number of a scene and its caption."""
        caption = caption_of(self._records[index].encoded, self._records.classes)
        return f"{self._records.name(index)}, {caption}"


def captioned_scenes(
    *,
    split: str,
    count: PositiveInt = 512,
    size: tuple[Side, Side] = (64, 64),
    names: tuple[str, ...] = EIGHT,
    objects: Objects = (1, 2),
    diameter: Positive = 1.6,
    blur: NonNegative = 0.0,
    seed: Seed = 0,
    length: PositiveInt = CAPTION_LENGTH,
    vocabulary: PositiveInt | None = None,
) -> CaptionedScenes:
    """Return scenes with captions, for networks of pictures and texts.

    length, vocabulary: of the captions, as of `caption_ids`. Other keywords are those of `scenes`,
    whose arrays an example holds; all numbers are ours.
    Fields: 'caption' i32[length]. Label set: 'object', the class of the nearest object, of the
    classes that are shown. Raises DataError as `scenes` and `caption_ids` do.
    """
    layout = {"objects": objects, "diameter": diameter, "blur": blur}
    records = scenes(split=split, count=count, size=size, names=names, seed=seed, **layout)
    return CaptionedScenes(records, length=length, vocabulary=vocabulary)


def _named(order: np.ndarray) -> list[int]:
    """Return which objects are named, by their order, the nearest first."""
    numbers, counts = np.unique(order[order > 0], return_counts=True)
    found = sorted(zip(numbers, counts, strict=True), reverse=True)
    return [int(n) for i, (n, pixels) in enumerate(found) if not i or pixels >= LEAST * order.size]


def _name(shown: np.ndarray, inside: np.ndarray, classes: Sequence[str]) -> str:
    """Return the word for what a part of a scene shows."""
    return classes[int(shown[inside][0])].lower()


def _place(apart: np.ndarray) -> str:
    """Return where one object lies from another; apart: (rows, columns) from that to it."""
    down, right = apart
    if abs(right) >= abs(down):
        return "left of" if right < 0 else "right of"
    return "above" if down < 0 else "below"
