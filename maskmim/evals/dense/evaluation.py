"""The way of an evaluation at every place: learn from crops, predict whole pictures, draw some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from maskmim.evals.dense.data import MapData, Pair, crops_of, pairs_of
from maskmim.evals.dense.encoders import Beside, encoders_of
from maskmim.evals.dense.pictures import draw_predictions
from maskmim.evals.dense.problem import Learner, Predict, Problem, Task
from maskmim.evals.dense.sliding_windows import fitted, predict_whole, resized_to
from maskmim.evals.features import Unsuitable
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained, batch_shares
from maskmim.evals.unreadable import Unreadable, sentences
from maskmim.runtime import activity

# Windows that are predicted together, at least.
WINDOWS = 16
# Parts of the data of an evaluation.
LEARNT, TESTED = "data.train", "data.test"
# Test pictures that are drawn.
DRAWN = 8


class Protocol(NamedTuple):
    """How whole pictures are predicted, and what is learnt from; see `segmentation.segmentation`.

    Its fields are keywords there.
    """

    layers: tuple[float, ...]
    beside: Beside
    scale: tuple[float, float]
    stride: float
    short_side: int | None
    images: int


class Answers(NamedTuple):
    """Test examples and what was predicted of each, by one encoder.

    encoder:  '' for the trained one.
    examples: (picture and map, prediction f32[h, w, outputs] of the size of the map).
    """

    encoder: str
    examples: Iterator[tuple[Pair, np.ndarray]]


def answers(
    trained: Trained,
    data: MapData,
    task: Task,
    learner: Learner,
    protocol: Protocol,
    unread: Unreadable,
) -> Iterator[Answers]:
    """Yield the test examples with their predictions for each encoder, the trained one first.

    unread: takes in the examples of LEARNT and TESTED that cannot be read.
    Raises Unsuitable where there are no examples, or no encoder of pictures.
    """
    train, test = data.train(), data.test()
    for name, records in (("train", train), ("test", test)):
        if not len(records):
            raise Unsuitable(f"data.{name} of this evaluation has no examples: name some")
    crops = crops_of(data, train, trained, protocol.scale, unread.setdefault(LEARNT, {}))
    encoders = encoders_of(trained, protocol.layers, protocol.beside)
    problem = Problem(encoders, task, len(train), crops, trained.mesh, trained.method)
    with activity.during("learning from maps"):
        learnt = learner(problem)
    for name, predict in learnt.items():
        pairs = pairs_of(data, test, trained, protocol.images, unread.setdefault(TESTED, {}))
        yield Answers(name, _predicted(predict, pairs, trained, protocol))


def _predicted(
    predict: Predict, pairs: Iterator[Pair], trained: Trained, protocol: Protocol
) -> Iterator[tuple[Pair, np.ndarray]]:
    """Yield examples with predictions, resized to the size of the map."""
    size, shares = tuple(trained.spec.size), batch_shares(trained.mesh)
    waiting: list[Pair] = []

    def pictures() -> Iterator[np.ndarray]:
        for pair in pairs:
            waiting.append(pair)
            yield fitted(pair.picture, size, protocol.short_side)

    batch = -(-WINDOWS // shares) * shares
    for values in predict_whole(
        predict, pictures(), size=size, stride=protocol.stride, batch=batch
    ):
        pair = waiting.pop(0)
        yield pair, resized_to(values, pair.target.shape)


class Sheet:
    """The first test examples with their painted maps, to be drawn."""

    def __init__(self) -> None:
        self._columns: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    @property
    def is_full(self) -> bool:
        """Whether no further example is drawn."""
        return len(self._columns) == DRAWN

    def add(self, picture: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Add a picture [H, W, C] and two maps u8[h, w, 3]."""
        self._columns.append((picture, truth, predicted))

    def draw(self, title: str) -> np.ndarray | None:
        """Return the picture u8[height, width, 3], None without an example."""
        if not self._columns:
            return None
        pictures, truths, predicted = zip(*self._columns, strict=True)
        return draw_predictions(pictures, truths, predicted, title=title)


def measured(
    prefix: str,
    encoder: str,
    scores: Mapping[str, float],
    text: str,
    *,
    picture: np.ndarray | None,
    unread: Unreadable,
) -> Iterable[Measured]:
    """Yield the scores of an encoder; the first has the text, a warning and the picture.

    prefix: of the metrics, 'segmentation/linear'. encoder: '' for the trained one, which alone has
    a warning, and a picture.
    """
    first, *others = scores
    head = f"{prefix}/{encoder}" if encoder else prefix
    named = {f"{prefix} ({part})": found for part, found in unread.items()}
    warning = "" if encoder else "; ".join(sentences(named))
    yield Measured(f"{head}/{first}", scores[first], text, warning, picture)
    for name in others:
        yield Measured(f"{head}/{name}", scores[name], "")
