"""The method's own loss on images that it is not trained on, with masks fixed for each image."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from maskmim.config import facts
from maskmim.config.ranges import PositiveInt
from maskmim.evals.features import Unsuitable
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained, batch_shares
from maskmim.training import sharding
from maskmim.training.train_step import step_metrics
from maskmim.types import Batch, Losses, Mean, Randomness, Variables


@facts.measure(needs=("test", "loss"))
def held_out(trained: Trained, *, images: PositiveInt = 512) -> Iterator[Measured]:
    """Yield the training loss on test images: a curve whose images and masks never change.

    images: at most so many of `evals.test`, spread evenly (512: ours).
    Yields 'held_out/loss', each term 'held_out/loss/<name>' where there are several, and the
    method's metrics 'held_out/<name>', named as those of the training step.

    Masks, dropped paths and noise depend on the image's index alone, see `Trained.randomness`, and
    `progress` is 0 throughout, so that a ratio or a temperature that changes in training does not
    bend the curve. A sampler that reads the model (its attention, its loss) still follows it.
    Methods that read several crops get those of the training augmentation, drawn once for each
    image; averaged weights are read where `config.ema` keeps them.
    Padding and unreadable images are left out exactly: the last batch is smaller. Losses are sums
    over examples, so that the size of batches changes the last digits only; a loss over pairs of
    examples depends on it.
    """
    source = trained.test
    parts: dict[str, dict[str, Mean]] = {"terms": {}, "metrics": {}}
    scales: Mapping[str, float] = {}
    batches = source.batches(images, augmented=source.as_trained())
    count = min(images, len(source.records))
    size = even_part(count, trained.part, batch_shares(trained.mesh))
    for batch in valid_batches(batches, size):
        losses = loss_sums(trained, batch, trained.randomness(batch["record"]))
        scales = {name: np.float32(scale) for name, scale in losses.scales.items()}
        for name, sums in parts.items():
            _add(sums, getattr(losses, name))
    if not scales:
        raise Unsuitable(f"no image of {source.name} can be read")
    unweighted = [name for name, term in parts["terms"].items() if scales[name] and not term.weight]
    warning = (
        f"the loss of {', '.join(unweighted)} has no weight on these images, as where every value "
        "of a map is void: it is 0 and says nothing"
    )
    for name, value in step_metrics(Losses(scales=scales, carry=(), **_rounded(parts))).items():
        is_loss = name == "loss"
        text = f"held-out loss {float(value):.4g}" if is_loss else ""
        yield Measured(
            f"held_out/{name}", float(value), text, warning * (is_loss and bool(unweighted))
        )


def even_part(count: int, most: int, shares: int) -> int:
    """Return the size of batches of `count` examples: at most `most`, without a rest if possible.

    A rest is a program more to compile. shares: devices over which a batch spreads.
    """
    sizes = (size for size in range(most, most // 4, -1) if count % size == size % shares == 0)
    return next(sizes, most)


def valid_batches(batches: Iterable[Mapping[str, Any]], size: int) -> Iterator[dict[str, Any]]:
    """Yield the valid rows of some batches in order, `size` at a time; the last batch has the rest.

    A rest of one row joins the batch before it: alone it has no other to be normalised or compared
    with, where a network has batch norms. The texts of 'reason' are left out.
    """
    kept: dict[str, Any] | None = None
    for batch in batches:
        valid = np.asarray(batch["valid"], bool)
        rows = {name: value for name, value in batch.items() if name != "reason"}
        rows = jax.tree.map(lambda array, valid=valid: np.asarray(array)[valid], rows)
        kept = rows if kept is None else jax.tree.map(_joined, kept, rows)
        while len(kept["valid"]) > size + 1:
            yield jax.tree.map(lambda array: array[:size], kept)
            kept = jax.tree.map(lambda array: array[size:], kept)
    if kept is not None and len(kept["valid"]):
        yield kept


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.concatenate([first, second])


def loss_sums(trained: Trained, batch: Mapping[str, Any], randomness: Randomness) -> Losses:
    """Return the sums of a method's loss on a batch of numpy arrays, without its carry.

    Every process passes the whole batch. Compiled once for each size of batch.
    """
    is_even = len(batch["valid"]) % batch_shares(trained.mesh) == 0
    program = _program(trained.method.loss, trained.mesh, is_even)
    return program(trained.evaluated, trained.on_devices(batch), randomness)


@functools.lru_cache(maxsize=8)
def _program(loss: Callable[..., Losses], mesh: Mesh, is_even: bool) -> Callable[..., Losses]:
    """Return the jitted sums; a batch that the devices do not divide lies whole on each of them."""

    def sums(variables: Variables, batch: Batch, randomness: Randomness) -> Losses:
        return loss(variables, batch, randomness, jnp.float32(0.0))._replace(carry=())

    placed = sharding.on_mesh(sums, mesh) if is_even else sums
    return jax.jit(placed, out_shardings=sharding.replicated(mesh))


def _add(sums: dict[str, Mean], means: Mapping[str, Mean]) -> None:
    """Add the sums of a batch, in float64."""
    for name, mean in means.items():
        total, weight = sums.get(name, (0.0, 0.0))
        sums[name] = Mean(total + float(mean.total), weight + float(mean.weight))


def _rounded(parts: Mapping[str, Mapping[str, Mean]]) -> dict[str, dict[str, Mean]]:
    return jax.tree.map(np.float32, dict(parts))
