"""A Trained whose features are the mean colour of each picture, and classifiers of these."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from maskmim.data.arrays import ArrayRecords
from maskmim.evals.features import Split
from maskmim.evals.robustness.classifiers import Classifier
from maskmim.types import Encoded
from tests.evals.small import source_of, trained_on
from tests.tiny import pictures

KINDS = ("dark", "grey", "light")


def encode(variables, arrays):
    """Return the mean colour of each picture as its only token."""
    colour = arrays["image"].astype(jnp.float32).mean(axis=(1, 2))
    return Encoded(colour[:, None, :0].reshape(len(colour), 0, 3), colour[:, None])


def shaded(count=12):
    """Pictures u8[n, 32, 24, 3] of three kinds by turns, which differ in brightness."""
    images = pictures(count) // 4
    return images + np.array([0, 70, 140], np.uint8)[np.arange(count) % 3][:, None, None, None]


def records_of(images, classes=KINDS):
    kinds = np.arange(len(images), dtype=np.int32) % len(classes)
    return ArrayRecords(images, {"kind": kinds}, classes={"kind": classes}, title="shaded")


def by_colour(count=12, **changes):
    """A Trained of shaded pictures."""
    images = shaded(count)
    source = source_of(images, records=records_of(images))
    method = SimpleNamespace(apply={"encode": encode}, net=SimpleNamespace(calls={}, width=3))
    colours = images.astype(np.float32).mean(axis=(1, 2))
    split = Split(colours, {"kind": np.arange(count, dtype=np.int32) % 3})
    sources = {"test": source, "train": source, "learnt_from": lambda: split}
    return trained_on(method=method, **sources, **changes)


def nearest_shade(trained, labels, *, centres=(32.0, 102.0, 172.0)):
    """The classifier of the nearest mean brightness."""

    def scores(features):
        return -np.abs(features.mean(axis=1)[:, None] - np.array(centres))

    return Classifier(labels, KINDS, "mean", scores, "nearest")
