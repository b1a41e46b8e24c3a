"""Measures of pictures and texts on planted features: what they count, and what chance is."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.parse import ConfigError
from maskmim.data.arrays import ArrayRecords
from maskmim.evals.features import Unsuitable
from maskmim.evals.texts import found_texts, retrieval, zero_shot
from maskmim.types import Encoded
from tests.evals.small import source_of, trained_on
from tests.tiny import pictures

NAMES = ("Red", "Green", "Blue")
WIDTH = 6


def planted(wrong=()):
    """A Trained whose pictures tell a number by their first pixel, and whose texts are vectors.

    Pictures of class k point at e_k, where the text of the k-th name lies; those in `wrong` at the
    next one.
    """
    labels = np.int32([0, 0, 0, 1, 2, 2])
    shown = (labels + np.isin(np.arange(6), wrong)) % 3
    images = np.zeros_like(pictures(6))
    images[:, :, :] = shown[:, None, None, None]
    classes = {"colour": NAMES}
    records = ArrayRecords(images, {"colour": labels}, classes=classes, title="planted")

    def encode(variables, arrays):
        ones = jnp.eye(WIDTH, dtype=jnp.float32)[arrays["image"][:, 16, 12, 0].astype(jnp.int32)]
        return Encoded(3.0 * ones[:, None], ones[:, None])

    calls = {
        "picture": lambda params, x: x,
        "text": lambda params, ids: jnp.eye(WIDTH, dtype=jnp.float32)[ids[:, 0]] + 0.1 * ids[:, 1:],
    }
    method = SimpleNamespace(
        apply={"encode": encode}, net=SimpleNamespace(calls=calls), evaluated=lambda v: v
    )
    return trained_on(method=method, test=source_of(images, size=4, records=records))


def ids(sentence):
    """The number of the name, and a second number by the template, the same direction for all."""
    word, *rest = sentence.split()
    return np.int32([[name.lower() for name in NAMES].index(word), len(rest)])


@pytest.mark.parametrize(("wrong", "share"), [((), 1.0), ((1, 3), 4 / 6)])
def test_classes_are_told_by_their_names(wrong, share):
    options = {"labels": "colour", "ids": ids, "templates": ("{}", "{} of a kind")}
    found = {one.name: one.value for one in zero_shot(planted(wrong), **options)}
    assert found["zero_shot/colour"] == pytest.approx(share)
    assert found["zero_shot/colour/chance"] == pytest.approx(0.5)
    error = np.sqrt(share * (1 - share) / 6)
    assert found["zero_shot/colour/standard_error"] == pytest.approx(error)


def test_what_does_not_suit_is_named():
    trained = planted()
    with pytest.raises(ConfigError, match="no labels 'kind', but colour"):
        next(zero_shot(trained, labels="kind", ids=ids))
    with pytest.raises(Unsuitable, match="no function 'words'"):
        next(zero_shot(trained, labels="colour", ids=ids, text="words"))
    with pytest.raises(Unsuitable, match=r"declare input.fields.caption"):
        next(retrieval(trained))


def test_texts_and_images_are_found_among_distinct_ones():
    """Four images, of which two have the same text; the last points at another's text."""
    eye = np.eye(4, dtype=np.float32)
    texts = np.int32([[5, 1], [3, 0], [5, 1], [4, 2]])
    words = 2 * eye[[0, 1, 0, 2]]
    pictures = eye[[0, 1, 0, 1]] + 0.1 * eye[[3, 3, 3, 2]]
    found = found_texts(pictures, words, texts)
    assert found["texts"] == (pytest.approx(3 / 4), pytest.approx(1 / 3))
    # Of the three texts the first two find images with them, as does the third, whose own is the
    # only image that points there at all.
    assert found["images"] == (1.0, pytest.approx(1 / 3))
    shuffled = found_texts(pictures[[1, 0, 3, 2]], words, texts)
    assert shuffled["texts"][0] == 0.0 and shuffled["images"][0] == 0.0
