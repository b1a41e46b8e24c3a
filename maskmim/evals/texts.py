"""What a network of pictures and texts knows of test images: their classes by name, their texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.parse import ConfigError
from maskmim.config.ranges import PositiveInt
from maskmim.data.captions import caption_ids
from maskmim.evals.features import Unsuitable
from maskmim.evals.label_accuracy import accuracy, logits_by
from maskmim.evals.measures import Measured
from maskmim.evals.report import standard_error
from maskmim.evals.trained import Trained
from maskmim.models.calls import call_of, lacking_call
from maskmim.objectives.labels import pooled
from maskmim.types import Array, Tree

Pooling = Literal["mean", "class"]


@facts.measure(needs=("features", "labels"))
def zero_shot(
    trained: Trained,
    *,
    labels: str,
    templates: tuple[str, ...] = ("{}",),
    ids: Callable[[str], np.ndarray] = caption_ids,
    picture: str = "picture",
    text: str = "text",
    pooling: Pooling = "class",
    images: PositiveInt = 1_000_000,
) -> Iterator[Measured]:
    """Yield the share of test images that are nearest to the name of their class, in small letters.

    labels:    the set of labels. templates: sentences with {} in place of the name; the class is
               the mean of their unit vectors, as in CLIP (arXiv 2103.00020), section 3.1.4.
    ids:       brick, sentence -> i32[L], the indices that the text encoder takes.
    picture, text, pooling: as of `objectives.match_texts`.
    images:    at most so many test images, spread evenly; by default all.
    Yields ('zero_shot/<labels>', share in [0, 1]), '.../chance', the share of the commonest class
    among these images, and '.../standard_error'. Nothing learns from the labels.
    Raises Unsuitable for a network without these functions, ConfigError for an unknown label set.
    """
    _check_calls(trained, picture, text)
    source = trained.test
    if labels not in source.records.labels:
        known = ", ".join(sorted(source.records.labels))
        raise ConfigError(f"evals.test has no labels {labels!r}, but {known}: set its `labels`")
    names = [name.lower() for name in source.records.labels[labels]]
    sentences = np.stack([ids(form.format(name)) for name in names for form in templates])
    encode = logits_by(trained.method.net.calls[text], trained.mesh)
    texts = unit(np.asarray(encode(trained.evaluated.params, sentences)))
    classes = texts.reshape(len(names), len(templates), -1).mean(axis=1)

    def run(variables: Tree, arrays: Mapping[str, Array]) -> Array:
        return _pictures(trained, variables, arrays, picture, pooling)

    split = trained.rows_by(run, trained.variables, source.batches(images))
    known = split.labels[labels]
    share = accuracy(unit(split.features) @ unit(classes).T, known)
    known = known[known >= 0]
    chance = float(np.bincount(known).max() / len(known))
    error, name = standard_error(share, len(known)), f"zero_shot/{labels}"
    text_shown = f"{labels} by name {100 * share:.1f} ± {100 * error:.1f} %"
    yield Measured(name, share, f"{text_shown}, the commonest {100 * chance:.1f} %")
    yield Measured(f"{name}/chance", chance, "")
    yield Measured(f"{name}/standard_error", error, "")


@facts.measure(needs=("features", "test"))
def retrieval(
    trained: Trained,
    *,
    texts: str = "caption",
    picture: str = "picture",
    text: str = "text",
    pooling: Pooling = "class",
    images: PositiveInt = 1024,
) -> Iterator[Measured]:
    """Yield how often a test image finds its text among all others, and a text its image.

    texts:  the field of the batch with texts. Other names: as of `objectives.match_texts`.
    images: at most so many test images, spread evenly (1024: ours).
    Yields 'retrieval/texts', the share of images whose nearest text of all distinct ones is their
    own; 'retrieval/images', the share of distinct texts whose nearest image has this text; and of
    both '.../chance', that of a random order.
    Raises Unsuitable for a network without these functions and for images without texts.
    """
    _check_calls(trained, picture, text)
    if texts not in trained.spec.fields:
        raise Unsuitable(f"the images have no texts {texts!r}: declare input.fields.{texts}")

    def run(variables: Tree, arrays: Mapping[str, Array]) -> Array:
        found = _pictures(trained, variables, arrays, picture, pooling)
        params = trained.method.evaluated(variables).params
        words = call_of(trained.method.net, text)(params, arrays[texts])
        return jnp.concatenate([found, words, arrays[texts].astype(jnp.float32)], axis=1)

    rows = trained.rows_by(run, trained.variables, trained.test.batches(images)).features
    values = (rows.shape[1] - trained.spec.fields[texts].shape[0]) // 2
    pictures, words, ids = np.split(rows, [values, 2 * values], axis=1)
    for name, (share, chance) in found_texts(pictures, words, ids).items():
        shown = f"{name} found {100 * share:.1f} %, chance {100 * chance:.1f} %"
        yield Measured(f"retrieval/{name}", share, shown)
        yield Measured(f"retrieval/{name}/chance", chance, "")


def found_texts(
    pictures: np.ndarray, texts: np.ndarray, ids: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Return the shares of `retrieval` with their chances: {'texts': ..., 'images': ...}.

    pictures, texts: f32[n, V]. ids: [n, L] the texts, to tell which are equal.
    """
    _, first, own = np.unique(ids, axis=0, return_index=True, return_inverse=True)
    own = own.reshape(-1)
    cosines = unit(pictures) @ unit(texts[first]).T
    by_image = float(np.mean(cosines.argmax(axis=1) == own))
    by_text = float(np.mean(own[cosines.argmax(axis=0)] == np.arange(len(first))))
    # A random image has a text by the number of images with it: on average 1 / texts.
    chance = 1 / len(first)
    return {"texts": (by_image, chance), "images": (by_text, chance)}


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors f32[n, V] of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _pictures(
    trained: Trained, variables: Tree, arrays: Mapping[str, Array], picture: str, pooling: Pooling
) -> Array:
    """Return the projections of whole pictures f32[b, V]."""
    method = trained.method
    features = pooled(method.apply["encode"](variables, arrays), pooling)
    return call_of(method.net, picture)(method.evaluated(variables).params, features)


def _check_calls(trained: Trained, *names: str) -> None:
    """Raise Unsuitable where a network lacks the functions of pictures and texts."""
    calls = trained.method.net.calls
    for name in names:
        if name not in calls:
            raise Unsuitable(lacking_call(name, calls))
