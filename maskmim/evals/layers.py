"""A probe at every block of the encoder, from one pass over the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from maskmim.config import facts
from maskmim.config.parse import ConfigError
from maskmim.evals.captured import block_features, chosen_blocks
from maskmim.evals.features import Features, Split
from maskmim.evals.linear_probe import linear_probe
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained, labelled_classes
from maskmim.reporting.analysis_figures import draw_lines
from maskmim.runtime import activity

WHOLE = 2**31 - 1


@facts.measure(needs=("features", "labels", "training"))
def layers(
    trained: Trained,
    *,
    blocks: tuple[int, ...] = (),
    probe: Callable[..., Iterator[tuple[str, float]]] = linear_probe,
) -> Iterator[Measured]:
    """Yield the accuracy of a probe on the pooled output of each block.

    blocks: their numbers, from 0, negative ones from the last; () for all.
    probe:  a probe that yields '<its name>/<label set>/top1', bound to its keywords.
    Every image is encoded once; features of all blocks are kept, 4 bytes * images * blocks * D.
    They are those before the encoder's last norm, pooled as `evals.pooling` says.
    Yields ('layers/<label set>/<block>', top-1 in [0, 1]), ('layers/<label set>/best', the best of
    these) and, with a picture, ('layers', the block that is best for the finest label set). The
    best block is chosen on test images: its accuracy is no estimate for other images.
    Raises ConfigError for a block that does not exist and a probe that yields other numbers,
    Unsuitable where the encoder does not give the outputs of its blocks.
    """
    numbers = chosen_blocks(trained, blocks)
    classes = labelled_classes(trained)
    with activity.during("features of the blocks, training images"):
        train = block_features(trained, numbers, trained.train.batches(WHOLE))
    with activity.during("features of the blocks, test images"):
        test = block_features(trained, numbers, trained.test.batches(WHOLE))
    found: dict[str, list[float]] = {name: [] for name in classes}
    for place, number in enumerate(numbers):
        splits = (Split(each.features[:, place], each.labels) for each in (train, test))
        with activity.during(f"a probe at block {number}"):
            metrics = dict(probe(Features.of(*splits, classes)))
        for name in classes:
            found[name].append(top1_of(metrics, name))
    yield from _table(numbers, found, {name: len(names) for name, names in classes.items()})


def top1_of(metrics: dict[str, float], label_set: str) -> float:
    """Return the only top-1 of a label set among the metrics of a probe."""
    found = [value for name, value in metrics.items() if name.endswith(f"/{label_set}/top1")]
    if len(found) != 1:
        raise ConfigError(
            f"the probe at each block yields {len(found)} numbers '.../{label_set}/top1', and one "
            "is drawn: name another evals.measures.layers.probe"
        )
    return found[0]


def _table(
    numbers: tuple[int, ...], found: dict[str, list[float]], counts: dict[str, int]
) -> Iterator[Measured]:
    finest = max(counts, key=counts.__getitem__)
    best = {name: int(np.argmax(values)) for name, values in found.items()}
    chosen = numbers[best[finest]]
    text = f"{finest} is best at block {chosen} of {numbers[0]} to {numbers[-1]}"
    if len(numbers) == 1:
        text = f"block {chosen}, the only one that was probed"
    picture = draw_lines(
        numbers,
        {name: 100 * np.asarray(values) for name, values in found.items()},
        x="block",
        y="top-1 (%)",
        title=f"Accuracy over the depth: {text}",
    )
    yield Measured("layers", chosen, text, picture=picture)
    for name, values in found.items():
        top = values[best[name]]
        text = f"{100 * top:.1f} % at block {numbers[best[name]]}"
        if len(numbers) > 1:
            text += "; by block " + " ".join(f"{100 * value:.1f}" for value in values)
        yield Measured(f"layers/{name}/best", top, text)
        for number, value in zip(numbers, values, strict=True):
            yield Measured(f"layers/{name}/{number}", value, "")
