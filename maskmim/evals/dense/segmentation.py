"""Semantic segmentation on frozen features, scored at the resolution of the labels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import FractionRange, PositiveFraction, PositiveInt
from maskmim.evals.dense.data import MapData
from maskmim.evals.dense.encoders import Beside
from maskmim.evals.dense.evaluation import Protocol, Sheet, answers, measured
from maskmim.evals.dense.pictures import key_of_classes, painted_classes
from maskmim.evals.dense.problem import Learner, of_classes
from maskmim.evals.dense.scores import class_scores, confusion
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained
from maskmim.models.feature_maps import Layers
from maskmim.reporting.sheets import with_key


@facts.measure(needs=("features",))
def segmentation(
    trained: Trained,
    *,
    name: str,
    data: Callable[[], MapData],
    learner: Learner,
    layers: Layers = (),
    beside: Beside = ("random_init", "raw_colours"),
    scale: FractionRange = (0.25, 1.0),
    stride: PositiveFraction = 2 / 3,
    short_side: PositiveInt | None = None,
    images: PositiveInt = 1_000_000,
) -> Iterator[Measured]:
    """Yield how well the class of each pixel is found on top of the frozen encoder.

    name:    of the evaluation in its metrics, 'linear'.
    data:    brick, such as `dense.data.class_maps`.
    learner: brick, `in_context.in_context` or `trained_head.trained_head`.
    layers:  blocks or stages that the learner sees, as shares of the depth, see
             `models.feature_maps.maps_of`; () for the encoder's output.
    beside:  encoders that are evaluated alike: 'random_init', this one before training, and
             'raw_colours', the pixels of each patch.
    scale:   limits of the share of the area of training crops.
    stride:  between the windows that a larger picture is predicted in, as a share of the input.
    short_side: to which pictures are resized before windows are cut; None for their own size. A
             picture that is smaller than the input is always enlarged to it.
    images:  at most so many test pictures, spread evenly.
    Yields 'segmentation/<name>/miou', '.../pixel_accuracy' and '.../class_accuracy', of encoders
    beside it 'segmentation/<name>/<encoder>/miou' and so on; see `scores.ClassScores`.
    Labels are never resized: logits are, to the size of each map. Pixels of no class do not count.
    Sources of the protocol: windows with a stride of 2/3 and the mean of their logits, as in
    mmsegmentation's slide_inference; the rest is ours.
    """
    made = data()
    protocol = Protocol(layers, beside, scale, stride, short_side, images)
    task, unread = of_classes(made.classes, made.void), {}
    for encoder, examples in answers(trained, made, task, learner, protocol, unread):
        sheet, matrix = Sheet(), np.zeros((made.classes,) * 2, np.int64)
        paint = functools.partial(painted_classes, classes=made.classes, void=made.void)
        drawn: set[int] = set()
        for pair, logits in examples:
            found = decided(logits, made.void)
            of_pair = confusion(pair.target, found, made.classes, made.void)
            matrix += of_pair
            if not (encoder or sheet.is_full):
                drawn.update(np.flatnonzero(of_pair.sum(0) + of_pair.sum(1)).tolist())
                sheet.add(pair.picture, paint(pair.target), paint(found))
        scores = class_scores(matrix)
        shares = [f"{100 * share:.1f} %" for share in scores]
        text = f"mIoU {shares[0]}, pixels {shares[1]}, mean of classes {shares[2]}"
        picture = sheet.draw(f"segmentation by {name}: {text}")
        if picture is not None and drawn:
            picture = with_key(picture, key_of_classes(drawn))
        prefix = f"segmentation/{name}"
        yield from measured(prefix, encoder, scores._asdict(), text, picture=picture, unread=unread)


def decided(logits: np.ndarray, void: int | None) -> np.ndarray:
    """Return the likeliest class of each pixel, never void: f32[h, w, K] -> i64[h, w]."""
    if void is not None and void < logits.shape[-1]:
        logits = logits.copy()
        logits[..., void] = -np.inf
    return logits.argmax(axis=-1)
