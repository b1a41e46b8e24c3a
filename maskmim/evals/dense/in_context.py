"""Predictions by the nearest features of labelled crops: nothing is trained."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config.ranges import Positive, PositiveInt, Seed
from maskmim.evals.dense.problem import FrozenEncoder, Predict, Problem, Task
from maskmim.evals.features import Unsuitable
from maskmim.evals.knn import neighbours
from maskmim.evals.trained import put_everywhere
from maskmim.models.dense_heads import Maps, resized
from maskmim.runtime import activity
from maskmim.training import sharding
from maskmim.types import Array, Tree

Memory = tuple[np.ndarray, np.ndarray]  # features f32[n, D], answers f32[n, outputs]
EPSILON = 1e-6


def in_context(
    problem: Problem,
    *,
    k: PositiveInt = 30,
    temperature: Positive = 0.02,
    memory: PositiveInt = 8192,
    crops: PositiveInt = 1,
    batch_size: PositiveInt = 16,
    query_chunk: PositiveInt = 256,
    bank_chunk: PositiveInt = 16_384,
    seed: Seed = 0,
) -> dict[str, Predict]:
    """Answer for each patch as its nearest patches in the training examples are labelled.

    k:           neighbours of a patch, by the cosine of their features (the last of the maps).
    temperature: T of their weights, a softmax of cosine / T.
    memory:      patches that are remembered, drawn evenly from all crops.
    crops:       random crops of each training example.
    query_chunk, bank_chunk: patches compared and answered at a time, as of `evals.knn.knn`; they
                 bound memory and change no result.
    The answer of a remembered patch is the mean over its pixels that count: shares of classes, or
    a mean amount. Answers are resized from the grid to the crop.
    Raises Unsuitable where fewer than k patches can be remembered.
    Source: Balazevic et al., Towards In-Context Scene Understanding (arXiv 2306.01667), as
    hbird_eval.py of vpariza/open-hummingbird-eval reproduces it (k = 30, T = 0.02). Differences:
    the search is exact; patches are drawn evenly, there those of classes that are rare in their
    picture come first; features are standardised by mean and deviation of each channel over the
    memory, as cosines of features with a large common part say little; pixels of no class are left
    out, there they count as class 0 in the memory; its size is ours, for scenes, so raise it where
    the machine allows.
    """
    batch_size = min(batch_size, problem.count)
    batches = -(-crops * problem.count // batch_size)
    patches = -(-memory // (batches * batch_size))
    kept: dict[str, list[Memory]] = {name: [] for name in problem.encoders}
    given = itertools.islice(problem.crops(batch_size, seed), batches)
    told = activity.counted(given, batches * batch_size, batch_size)
    for number, batch in enumerate(told):
        pictures, targets = put_everywhere(batch, problem.mesh)
        for name, encoder in problem.encoders.items():
            answered = _remember(encoder.maps, problem.task)(encoder.variables, pictures, targets)
            rng = np.random.default_rng([seed, number])  # the same for every encoder
            kept[name].append(_drawn(rng, *map(np.asarray, answered), patches))
    joined = {
        name: tuple(np.concatenate(each) for each in zip(*parts, strict=True))
        for name, parts in kept.items()
    }
    bank = len(next(iter(joined.values()))[0])
    if bank < k:
        raise Unsuitable(
            f"only {bank} labelled patches can be remembered, fewer than k={k}: lower k, or name "
            "more examples in data.train of this evaluation"
        )
    search = {"k": k, "query_chunk": query_chunk, "bank_chunk": min(bank_chunk, bank)}

    @functools.cache
    def program_of(maps: Callable[[Tree, Array], Maps]) -> Callable[..., Array]:
        return _answer(maps, problem, temperature, search)

    return {
        name: _predict_by(program_of(encoder.maps), _standardised(joined[name]), encoder, problem)
        for name, encoder in problem.encoders.items()
    }


class Bank(NamedTuple):
    """What is searched: standardised features f32[n, D], answers f32[n, outputs].

    mean, deviation: f32[D], by which features are standardised.
    """

    features: np.ndarray
    answers: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def _standardised(memory: Memory) -> Bank:
    """Standardise the features of a memory."""
    features, answers = memory
    mean, deviation = features.mean(axis=0), features.std(axis=0) + EPSILON
    return Bank((features - mean) / deviation, answers, mean, deviation)


def _predict_by(
    program: Callable[..., Array], bank: Bank, encoder: FrozenEncoder, problem: Problem
) -> Predict:
    whole = jax.device_put(bank, sharding.replicated(problem.mesh))

    def predict(pictures: np.ndarray) -> np.ndarray:
        placed = put_everywhere(pictures, problem.mesh)
        return np.asarray(program(whole, encoder.variables, placed))

    return predict


def _drawn(
    rng: np.random.Generator,
    features: np.ndarray,
    answers: np.ndarray,
    weights: np.ndarray,
    count: int,
) -> Memory:
    """Draw `count` patches of each crop, of which those without an answer are left out.

    features f32[b, N, D], answers f32[b, N, outputs], weights f32[b, N].
    """
    chosen = np.argsort(rng.random(weights.shape), axis=1)[:, :count]
    rows = np.arange(len(weights))[:, None]
    some = weights[rows, chosen] > 0
    return features[rows, chosen][some], answers[rows, chosen][some]


@functools.lru_cache(maxsize=4)
def _remember(maps: Callable[[Tree, Array], Maps], task: Task) -> Callable[..., tuple]:
    """Return a program: crops and targets -> features, answers and weights of their patches."""

    def remember(variables: Tree, pictures: Array, targets: Array) -> tuple[Array, Array, Array]:
        features = maps(variables, pictures)[-1]
        grid, examples = features.shape[1:3], len(pictures)
        side = [length // cells for length, cells in zip(targets.shape[1:], grid, strict=True)]

        def sums(values: Array) -> Array:
            cut = values.reshape(examples, grid[0], side[0], grid[1], side[1], -1)
            return jnp.sum(cut, axis=(2, 4)).reshape(examples, grid[0] * grid[1], -1)

        shares, weight = task.shares(targets)
        count = sums(weight)
        answers = sums(shares * weight[..., None]) / jnp.maximum(count, 1e-9)
        return features.reshape(examples, grid[0] * grid[1], -1), answers, count[..., 0]

    return jax.jit(remember)


def _answer(
    maps: Callable[[Tree, Array], Maps], problem: Problem, temperature: float, search: dict
) -> Callable[..., Array]:
    """Return a program: (bank, variables, pictures) -> f32[b, h, w, outputs]."""

    def answer(bank: Bank, variables: Tree, pictures: Array) -> Array:
        given = (maps(variables, pictures)[-1] - bank.mean) / bank.deviation
        queries = given.reshape(-1, given.shape[-1])
        cosines, places = neighbours(bank.features, queries, **search)
        weights = jax.nn.softmax(cosines / temperature, axis=-1)

        def mix(found: tuple[Array, Array]) -> Array:
            return jnp.matmul(found[0], bank.answers[found[1]], precision="highest")

        mixed = jax.lax.map(mix, (weights, places), batch_size=search["query_chunk"])
        return resized(mixed.reshape(*given.shape[:3], -1), pictures.shape[1:3])

    return jax.jit(answer, out_shardings=sharding.replicated(problem.mesh))
