"""How well images are classified by an encoder that sees only some of their tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from maskmim.config import facts
from maskmim.config.bricks import resolve
from maskmim.config.kinds import SAMPLER
from maskmim.config.parse import ConfigError
from maskmim.config.ranges import OpenFraction, PositiveInt
from maskmim.errors import count_of
from maskmim.evals.features import Split, Unsuitable, pooling_by_name
from maskmim.evals.held_out import valid_batches
from maskmim.evals.measures import Measured
from maskmim.evals.robustness.classifiers import Classifier, Classify, label_set, own_or_linear
from maskmim.evals.trained import Trained
from maskmim.models.layers.errors import ModelError
from maskmim.reporting.curves import draw_curves
from maskmim.training import sharding
from maskmim.types import Array, Batch, Context, Mask, Randomness, Tree

Sampler = Callable[..., Mask]
# How far features of whole images may lie from those of the evaluation, of their largest value.
TOLERANCE = 1e-2


@facts.measure(needs=("features", "labels", "training"))
def occlusion(
    trained: Trained,
    *,
    samplers: tuple[str, ...] = (
        "maskmim.masks.uniform.random",
        "maskmim.masks.blocks.beit",
        "maskmim.masks.colour.green",
    ),
    ratios: tuple[OpenFraction, ...] = (0.25, 0.5, 0.75, 0.9),
    images: PositiveInt = 256,
    labels: str = "",
    classifier: Classify = own_or_linear,
) -> Iterator[Measured]:
    """Yield the top-1 accuracy of an encoder that sees the tokens that a mask sampler leaves.

    samplers:   paths of samplers, with their defaults; each needs a keyword `ratio` and no hints.
    ratios:     shares of hidden tokens.
    images:     at most so many of `evals.test`, spread evenly (256: ours).
    labels:     the label set; '' for that with the most classes.
    classifier: a brick of `evals.robustness.classifiers`, which has seen whole images alone.
    Yields 'occlusion/<sampler>/<ratio>' and 'occlusion/whole', shares in [0, 1], and a picture.
    Hidden tokens do not enter the encoder. Masks depend on the image's index alone.
    Raises ConfigError for a sampler that needs hints, Unsuitable for encoders that must see every
    token, of several streams, and for methods that are evaluated by another encoder than that of
    their network.
    Source: patch drop of Naseer et al. (arXiv 2105.10497, section 3.1), who paint patches black;
    leaving tokens out is how masked autoencoders are trained.
    """
    drawn = {name: _sampler(name) for name in samplers}
    judge = classifier(trained, label_set(trained, labels))
    _check_encoder(trained, judge)
    whole = _accuracy(trained, judge, None, images)
    curves = {}
    for path, sampler in drawn.items():
        title, shares = path.rpartition(".")[2], []
        for ratio in sorted(ratios):
            hide = functools.partial(sampler, ratio=ratio)
            shares.append(_accuracy(trained, judge, hide, images))
            shown = ", ".join(
                f"{100 * share:.1f} % at {at:g}"
                for at, share in zip(sorted(ratios), shares, strict=False)
            )
            last = len(shares) == len(ratios)
            yield Measured(f"occlusion/{title}/{ratio:g}", shares[-1], shown if last else "")
        curves[title] = [0.0, *sorted(ratios)], [100 * share for share in (whole, *shares)]
    count = count_of(min(images, len(trained.test.records)), "image")
    about = f"{count}, {judge.labels}, {judge.title} classifier"
    picture = draw_curves(curves, title=about, across="share of tokens hidden", up="top-1 (%)")
    text = f"{100 * whole:.1f} % with every token, {about}"
    yield Measured("occlusion/whole", whole, text, picture=picture)


def _sampler(path: str) -> Sampler:
    """Return the sampler at a path; raise ConfigError where it needs what no method gives here."""
    sampler = resolve(path, SAMPLER)
    if needs := facts.facts_of(sampler).needs:
        raise ConfigError(f"{path} needs {', '.join(needs)}, which no teacher gives here")
    return sampler


def _check_encoder(trained: Trained, judge: Classifier) -> None:
    """Raise Unsuitable unless evaluation encodes by the network itself, one stream of tokens."""
    if len(trained.method.net.grids) != 1:
        raise Unsuitable("tokens of several streams are not hidden: one stream is")
    batch = next(iter(valid_batches(trained.test.batches(1), 1)))
    found = _features(trained, judge, trained.on_devices(batch), None)
    expected = trained._replace(pooling=judge.pooling).features_by(
        trained.method.apply["encode"], trained.variables, trained.test.batches(1)
    )
    if np.abs(found - expected.features).max() > TOLERANCE * np.abs(expected.features).max():
        raise Unsuitable(
            "this method is evaluated by another encoder than that of its network, which hides "
            "no tokens"
        )


def _accuracy(trained: Trained, judge: Classifier, hide: Sampler | None, images: int) -> float:
    """Return the accuracy on some test images of which a sampler hides tokens; None for none."""
    grids, whole = trained.method.net.grids, sharding.replicated(trained.mesh)

    @functools.partial(jax.jit, out_shardings=whole)
    def draw(randomness: Randomness, arrays: Batch) -> Mask | None:
        return None if hide is None else hide(randomness, Context(arrays, grids, {}))

    right = []
    for batch in valid_batches(trained.test.batches(images), trained.test.size):
        arrays = trained.on_devices(batch)
        mask = draw(trained.randomness(batch["record"]), arrays)
        features = _features(trained, judge, arrays, mask)
        right.append(judge.right(Split(features, batch["label"])))
    return float(np.concatenate(right).mean())


def _features(trained: Trained, judge: Classifier, arrays: Batch, mask: Mask | None) -> np.ndarray:
    """Return pooled features f32[b, D] of the visible tokens; of all without a mask."""
    net = trained.method.net
    encode = _encoder(net.encode, net.inputs, judge.pooling, trained.mesh)
    try:
        return np.asarray(encode(trained.evaluated.params, arrays, mask))
    except ModelError as error:
        raise Unsuitable(f"its tokens cannot be hidden: {error}") from error


@functools.lru_cache(maxsize=2)
def _encoder(
    encode: Callable, inputs: Callable, pooling: str, mesh: Mesh
) -> Callable[[Tree, Batch, Mask | None], Array]:
    pool = pooling_by_name(pooling)

    def pooled(params: Tree, arrays: Batch, mask: Mask | None) -> Array:
        return pool(encode(params, inputs(arrays), mask))

    return jax.jit(sharding.on_mesh(pooled, mesh), out_shardings=sharding.replicated(mesh))
