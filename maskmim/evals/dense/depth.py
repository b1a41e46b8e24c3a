"""Depth from one picture on frozen features, scored at the resolution of the depth maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from maskmim.config import facts
from maskmim.config.ranges import FractionRange, Positive, PositiveFraction, PositiveInt
from maskmim.evals.dense.data import MapData
from maskmim.evals.dense.encoders import Beside
from maskmim.evals.dense.evaluation import Protocol, Sheet, answers, measured
from maskmim.evals.dense.pictures import painted_amounts
from maskmim.evals.dense.problem import Learner, of_amounts
from maskmim.evals.dense.scores import AmountSums, amount_scores
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained
from maskmim.models.feature_maps import Layers


@facts.measure(needs=("features",))
def depth(
    trained: Trained,
    *,
    name: str,
    data: Callable[[], MapData],
    learner: Learner,
    layers: Layers = (),
    beside: Beside = ("random_init", "raw_colours"),
    scale: FractionRange = (0.75, 1.0),
    stride: PositiveFraction = 2 / 3,
    short_side: PositiveInt | None = None,
    images: PositiveInt = 1_000_000,
    least: Positive = 1e-3,
) -> Iterator[Measured]:
    """Yield how well the depth of each pixel is found on top of the frozen encoder.

    data:  brick, such as `dense.data.amounts`.
    least: to which smaller predictions are raised, in units of the depth.
    scale: as of `segmentation.segmentation`; nearly whole pictures, as a crop that is enlarged
           looks nearer than it is.
    Other keywords are those of `segmentation.segmentation`.
    Yields 'depth/<name>/rmse' in units of the depth, '.../relative' and '.../delta1', of encoders
    beside it 'depth/<name>/<encoder>/rmse' and so on; see `scores.AmountScores`. Maps are
    never resized: predictions are. Pixels without depth do not count.
    """
    made = data()
    protocol = Protocol(layers, beside, scale, stride, short_side, images)
    task, unread = of_amounts(), {}
    for encoder, examples in answers(trained, made, task, learner, protocol, unread):
        sheet, sums = Sheet(), AmountSums()
        for pair, values in examples:
            found = values[..., 0]
            sums = sums.with_pair(pair.target, found, least)
            if not (encoder or sheet.is_full):
                high = float(pair.target.max())
                painted = (painted_amounts(each, high) for each in (pair.target, found))
                sheet.add(pair.picture, *painted)
        scores = amount_scores(sums)
        text = (
            f"RMSE {scores.rmse:.3f}, relative error {100 * scores.relative:.1f} %, within 1.25 "
            f"times {100 * scores.delta1:.1f} %"
        )
        picture = sheet.draw(f"depth by {name}: {text}; near is white")
        prefix = f"depth/{name}"
        yield from measured(prefix, encoder, scores._asdict(), text, picture=picture, unread=unread)
